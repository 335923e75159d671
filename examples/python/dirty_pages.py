#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A picture of dirty pages over time: one column a harvest, one row a page.

usage: dirty_pages.py LIBRARY GROUP DEVICE OUTPUT.svg, e.g. dirty_pages.py libvfiodirty.so.1 1 vfdtest.0 dirty.svg

The device is the test device of tests/kernel, told what to write and asked afterwards what it wrote: each column is
compared with that. Python's own library is all that it needs."""

import ctypes
import fcntl
import mmap
import random
import struct
import sys

from vfiodirty import COLLECT, MAP_READ, MAP_WRITE, ContainerOptions, Harvest, Library, Mapping, Refused, Region, sized

PAGE, PAGES, ROUNDS = 4096, 512, 120
IOVA = 1 << 20


class Device:
    """/dev/vfdtest: tests/kernel/vfdtest.h says what these numbers mean."""

    def __init__(self, index):
        self.index, self.file = index, open("/dev/vfdtest", "rb")

    def write(self, page, pages):
        # VFDTEST_WRITE: _IOW('v', 1, device, flags, iova, size, value)
        fcntl.ioctl(self.file, 0x40207601, struct.pack("IIQQQ", self.index, 0, IOVA + page * PAGE, pages * PAGE, 1))

    def wrote(self):
        # VFDTEST_TRUTH, CLEAR: _IOWR('v', 7, device, flags, iova, size, bitmap, pages, sequence, time)
        bits = (ctypes.c_uint64 * (PAGES // 64))()
        fcntl.ioctl(self.file, 0xC0387607, struct.pack("IIQQQQQQ", self.index, 1, IOVA, PAGES * PAGE, ctypes.addressof(bits), 0, 0, 0))
        return {page for page in range(PAGES) if bits[page // 64] >> page % 64 & 1}


def work(device, time):
    """What a device might do: a ring that it fills, a few descriptors, a burst of random blocks, and a rest."""
    if 80 <= time < 90:
        return
    device.write(time * 6 % 256, 6)
    device.write(300 + time // 20 * 3, 1)
    if 30 <= time < 60:
        for _ in range(8):
            device.write(random.randrange(352, 508), random.randrange(1, 4))


def watch(library, device, container, consumer):
    """One column after the other, and how many of them are exactly what the device says it wrote."""
    columns, exact = [], 0
    for time in range(ROUNDS):
        work(device, time)
        library.call("vfd_track_harvest", container, 0, ctypes.byref(sized(Harvest)))
        columns.append([(address // PAGE, size // PAGE) for address, size in library.take_all(consumer)])
        exact += device.wrote() == {page for first, count in columns[-1] for page in range(first, first + count)}
    return columns, exact


def track(library, group_number, name):
    ram = mmap.mmap(-1, PAGES * PAGE)
    memory = ctypes.addressof(ctypes.c_char.from_buffer(ram))
    log = library.make("vfd_log_create", None)
    library.call("vfd_region_add", log, ctypes.byref(sized(Region, size=PAGES * PAGE, memory=memory)))
    container = library.make("vfd_container_open", ctypes.byref(sized(ContainerOptions, log=log)))
    group = library.make("vfd_group_attach", container, group_number)
    library.call("vfd_map", container, ctypes.byref(
        sized(Mapping, flags=MAP_READ | MAP_WRITE, iova=IOVA, size=PAGES * PAGE, memory=memory)))
    library.call("vfd_track_start", container, None, None)
    library.make("vfd_device_open", group, name.encode())
    consumer = library.consumer(log)
    library.take_all(consumer)
    columns, exact = watch(library, Device(int(name.rpartition(".")[2])), container, consumer)
    library.call("vfd_container_close", ctypes.byref(container), COLLECT)
    library.take_all(consumer)
    library.call("vfd_log_destroy", ctypes.byref(log), 0)
    return columns, exact


def picture(columns, title):
    """Drawn by hand: an SVG is text, and a run of pages is a box in one path."""
    wide, high, left, top = 5, 1, 60, 40
    boxes = "".join(f"M{left + x * wide} {top + first * high}h{wide}v{count * high}h-{wide}z"
                    for x, column in enumerate(columns) for first, count in column)
    labels = [f'<text x="{left - 6}" y="{top + page * high + 4}" text-anchor="end">{page}</text>' for page in range(0, PAGES + 1, 128)]
    labels += [f'<text x="{left + x * wide}" y="{top + PAGES * high + 16}" text-anchor="middle">{x}</text>' for x in range(0, ROUNDS + 1, 20)]
    return "\n".join([
        "<!-- SPDX-License-Identifier: MIT -->",
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + ROUNDS * wide + 20} {top + PAGES * high + 40}" '
        'role="img" font-family="sans-serif" font-size="12">',
        f"<title>{title}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{left}" y="24" font-size="14">{title}</text>',
        f'<rect x="{left}" y="{top}" width="{ROUNDS * wide}" height="{PAGES * high}" fill="#f2f4f7"/>',
        f'<path fill="#b3261e" d="{boxes}"/>',
        *labels,
        f'<text x="{left + ROUNDS * wide // 2}" y="{top + PAGES * high + 34}" text-anchor="middle">harvest</text>',
        f'<text x="14" y="{top + PAGES * high // 2}" text-anchor="middle" transform="rotate(-90 14 {top + PAGES * high // 2})">page</text>',
        "</svg>", ""])


def main():
    if len(sys.argv) != 5:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 2
    random.seed(1)
    library = Library(sys.argv[1])
    columns, exact = track(library, int(sys.argv[2]), sys.argv[3])
    pages = sum(count for column in columns for _, count in column)
    with open(sys.argv[4], "w", encoding="utf-8") as output:
        output.write(picture(columns, f"Pages that {sys.argv[3]} wrote, as each of {ROUNDS} harvests reported them"))
    print(f"libvfiodirty {library.version()}: {pages} pages in {ROUNDS} harvests; {exact} are exactly what the device wrote")
    return exact != ROUNDS


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Refused as refusal:
        sys.exit(f"dirty_pages: {refusal}")
