// SPDX-License-Identifier: GPL-2.0
/*
 * complain.c - do wrong on purpose, to see that the bench notices
 */
#include "device.h"

long complain_warn(void)
{
	WARN(1, "vfdtest: a warning, as asked\n");
	return 0;
}

/* One byte past the end of an allocation. Harmless: the allocator rounds up. */
long complain_past_end(void)
{
	u8 *bytes;

	if (!IS_ENABLED(CONFIG_KASAN))
		return -EOPNOTSUPP;
	bytes = kzalloc(100, GFP_KERNEL);
	if (!bytes)
		return -ENOMEM;
	OPTIMIZER_HIDE_VAR(bytes);
	pr_info("vfdtest: the byte is %u\n", READ_ONCE(bytes[100]));
	kfree(bytes);
	return 0;
}

/* Two locks in one order, then in the other. Nobody else takes them. */
long complain_lock_order(void)
{
	static DEFINE_MUTEX(a);
	static DEFINE_MUTEX(b);

	if (!IS_ENABLED(CONFIG_PROVE_LOCKING))
		return -EOPNOTSUPP;
	mutex_lock(&a);
	mutex_lock(&b);
	mutex_unlock(&b);
	mutex_unlock(&a);
	mutex_lock(&b);
	mutex_lock(&a);
	mutex_unlock(&a);
	mutex_unlock(&b);
	return 0;
}
