// SPDX-License-Identifier: GPL-2.0
/*
 * vfdtest - a VFIO device without hardware that knows what it wrote
 *
 * Up to four emulated-IOMMU VFIO devices, each on its own platform device and in
 * its own group. They pin and write the memory mapped in their container when
 * /dev/vfdtest says so, and record every page written: the truth which a dirty
 * log is judged by. vfdtest.h describes every command.
 *
 *   main.c      the module; devices come and go
 *   vfio.c      the VFIO device that user space opens
 *   commands.c  /dev/vfdtest
 *   dma.c       its accesses to memory      pins.c    pages it holds
 *   writer.c    the thread that writes      truth.c   what was written
 *   logging.c   the device's own log
 *   migration.c its states, and its own state on the way
 *   complain.c  errors made on purpose      device.h  what they share; the locks
 */
#include <linux/iommu.h>
#include <linux/miscdevice.h>
#include <linux/vmalloc.h>

#include "device.h"

unsigned int ndevices = 2;
module_param(ndevices, uint, 0444);
MODULE_PARM_DESC(ndevices, "number of devices, 1 to 4 (default 2)");

struct vfdtest devices[VFDTEST_MAX_DEVICES];
struct workqueue_struct *vfdtest_wq;

/* ---- the platform driver: bound is plugged in, unbound is removed ----------- */

static int group_number(struct device *dev)
{
	struct iommu_group *group = iommu_group_get(dev);
	int id = group ? iommu_group_id(group) : -1;

	iommu_group_put(group);
	return id;
}

static struct vfio_device *alloc_vdev(struct device *dev)
{
	/* the vfio_device is all there is: the rest outlives it */
	struct wrapper {
		struct vfio_device vdev;
	} *w = vfio_alloc_device(wrapper, vdev, dev, &vfdtest_ops);

	return IS_ERR(w) ? ERR_CAST(w) : &w->vdev;
}

static int vfdtest_probe(struct platform_device *pdev)
{
	struct vfdtest *dev = &devices[pdev->id];
	struct vfio_device *vdev;
	int ret;

	platform_set_drvdata(pdev, dev);
	vdev = alloc_vdev(&pdev->dev);
	if (IS_ERR(vdev))
		return PTR_ERR(vdev);

	mutex_lock(&dev->lock);
	dev->vdev = vdev;
	dev->state = VFDTEST_PRESENT;
	log_offer(dev);
	mig_offer(dev);
	mutex_unlock(&dev->lock);

	ret = vfio_register_emulated_iommu_dev(vdev);

	mutex_lock(&dev->lock);
	if (ret) {
		dev->vdev = NULL;
		dev->state = VFDTEST_ABSENT;
	} else {
		dev->group = group_number(&pdev->dev);
	}
	mutex_unlock(&dev->lock);
	if (ret)
		vfio_put_device(vdev);
	return ret;
}

static void vfdtest_unplug(struct platform_device *pdev)
{
	struct vfdtest *dev = platform_get_drvdata(pdev);
	struct vfio_device *vdev = dev->vdev;

	mutex_lock(&dev->lock);
	dev->state = VFDTEST_REMOVING;
	mutex_unlock(&dev->lock);

	vfio_unregister_group_dev(vdev);	/* blocks until the user closed */

	mutex_lock(&dev->lock);
	dev->vdev = NULL;
	dev->group = -1;
	dev->state = VFDTEST_ABSENT;
	mutex_unlock(&dev->lock);
	vfio_put_device(vdev);
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
static int vfdtest_remove(struct platform_device *pdev)
{
	vfdtest_unplug(pdev);
	return 0;
}
#else
static void vfdtest_remove(struct platform_device *pdev)
{
	vfdtest_unplug(pdev);
}
#endif

static struct platform_driver vfdtest_driver = {
	.probe = vfdtest_probe,
	.remove = vfdtest_remove,
	.driver.name = "vfdtest",
};

static void remove_work(struct work_struct *work)
{
	struct vfdtest *dev = container_of(work, struct vfdtest, remove);

	device_release_driver(&dev->pdev->dev);
}

/* ---- module ------------------------------------------------------------------ */

static int device_create_one(unsigned int index)
{
	struct vfdtest *dev = &devices[index];

	dev->index = index;
	dev->state = VFDTEST_ABSENT;
	dev->group = -1;
	dev->resettable = true;
	mutex_init(&dev->lock);
	mutex_init(&dev->irq_lock);
	mutex_init(&dev->truth_lock);
	xa_init(&dev->pins);
	pageset_init(&dev->truth);
	log_init(dev);
	mig_init(dev);
	INIT_WORK(&dev->remove, remove_work);

	dev->memory = vmalloc_user(MEMORY_SIZE);
	dev->pages = vzalloc(VFDTEST_RUN_SPAN_MAX * VFDTEST_PAGE_SIZE);
	if (!dev->memory || !dev->pages)
		return -ENOMEM;
	dev->pdev = platform_device_register_simple("vfdtest", index, NULL, 0);
	return PTR_ERR_OR_ZERO(dev->pdev);
}

static void device_destroy_one(unsigned int index)
{
	struct vfdtest *dev = &devices[index];

	if (!dev->memory && !dev->pages)
		return;
	flush_work(&dev->remove);
	if (!IS_ERR_OR_NULL(dev->pdev))
		platform_device_unregister(dev->pdev);
	pageset_destroy(&dev->truth);
	pageset_destroy(&dev->log.pages);
	xa_destroy(&dev->pins);
	vfree(dev->pages);
	vfree(dev->memory);
}

static void vfdtest_cleanup(void)
{
	unsigned int i;

	for (i = 0; i < ndevices; i++)
		device_destroy_one(i);
	platform_driver_unregister(&vfdtest_driver);
	destroy_workqueue(vfdtest_wq);
}

static int __init vfdtest_module_init(void)
{
	unsigned int i;
	int ret;

	if (!ndevices || ndevices > VFDTEST_MAX_DEVICES)
		return -EINVAL;
	vfdtest_wq = alloc_workqueue("vfdtest", WQ_UNBOUND, 0);
	if (!vfdtest_wq)
		return -ENOMEM;
	ret = platform_driver_register(&vfdtest_driver);
	if (ret) {
		destroy_workqueue(vfdtest_wq);
		return ret;
	}
	for (i = 0; i < ndevices && !ret; i++)
		ret = device_create_one(i);
	if (!ret)
		ret = misc_register(&vfdtest_misc);
	if (ret)
		vfdtest_cleanup();
	return ret;
}

static void __exit vfdtest_module_exit(void)
{
	misc_deregister(&vfdtest_misc);
	vfdtest_cleanup();
}

module_init(vfdtest_module_init);
module_exit(vfdtest_module_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("VFIO test device that knows what it wrote");
MODULE_AUTHOR("libvfiodirty contributors");
