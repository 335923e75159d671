# SPDX-License-Identifier: MIT
"""The part of libvfiodirty that dirty_pages.py needs, by hand: the structs of include/vfiodirty, and calls that raise.

Nothing is generated."""

import ctypes
from ctypes import POINTER, Structure, byref, c_char, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p

MAP_READ, MAP_WRITE = 1, 2
COLLECT = 1
EVERYTHING = 2**64 - 1


class Error(Structure):
    _fields_ = [("code", c_int), ("sys_errno", c_int), ("operation", c_char_p), ("first", c_uint64), ("last", c_uint64),
                ("message", c_char * 384)]


class Region(Structure):
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("address", c_uint64), ("size", c_uint64), ("memory", c_void_p)]


class Mapping(Structure):
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("iova", c_uint64), ("size", c_uint64), ("memory", c_void_p),
                ("log_address", c_uint64), ("granule", c_uint64)]


class ContainerOptions(Structure):
    _fields_ = [("struct_size", c_uint32), ("flags", c_uint32), ("log", c_void_p), ("path", c_char_p), ("backend", c_uint32),
                ("device_count", c_uint32), ("devices", POINTER(c_char_p))]


class Harvest(Structure):
    _fields_ = [("struct_size", c_uint32), ("drained", c_uint32), ("pages_new", c_uint64), ("pages_reported", c_uint64),
                ("pages_assumed", c_uint64), ("assumed", c_uint64 * 16), ("deferred_bytes", c_uint64), ("ioctls", c_uint64),
                ("bytes", c_uint64), ("nanoseconds", c_uint64), ("unarmed_bytes", c_uint64), ("rearms", c_uint64)]


class Batch(Structure):
    _fields_ = [("id", c_uint64), ("first", c_uint64), ("last", c_uint64), ("pages", c_uint64), ("reported", c_uint64),
                ("next", c_uint64)]


class Run(Structure):
    _fields_ = [("address", c_uint64), ("size", c_uint64), ("memory", c_void_p)]


STRUCTS = {"vfd_error": Error, "vfd_region": Region, "vfd_mapping": Mapping, "vfd_container_options": ContainerOptions,
           "vfd_harvest": Harvest, "vfd_batch": Batch, "vfd_run": Run}

HANDLE, OUT = c_void_p, POINTER(c_void_p)

# Without these ctypes would pass addresses as 32 bits.
CALLS = {
    "vfd_log_create": [c_void_p, OUT],
    "vfd_log_destroy": [OUT, c_uint32],
    "vfd_region_add": [HANDLE, POINTER(Region)],
    "vfd_container_open": [POINTER(ContainerOptions), OUT],
    "vfd_container_close": [OUT, c_uint32],
    "vfd_group_attach": [HANDLE, c_int, OUT],
    "vfd_device_open": [HANDLE, c_char_p, OUT],
    "vfd_map": [HANDLE, POINTER(Mapping)],
    "vfd_track_start": [HANDLE, c_void_p, c_void_p],
    "vfd_track_harvest": [HANDLE, c_uint32, POINTER(Harvest)],
    "vfd_take": [HANDLE, c_uint64, c_uint64, c_uint64, POINTER(Batch)],
    "vfd_batch_runs": [HANDLE, POINTER(Batch), POINTER(Run), c_size_t, POINTER(c_size_t)],
    "vfd_commit": [HANDLE, POINTER(Batch), c_uint64, c_uint64],
}


class Refused(Exception):
    """What the library says, in its own words."""


def sized(struct, **values):
    return struct(struct_size=ctypes.sizeof(struct), **values)


class Library:
    def __init__(self, path="libvfiodirty.so.1"):
        self.library = ctypes.CDLL(path)
        for name, arguments in CALLS.items():
            getattr(self.library, name).argtypes = arguments + [POINTER(Error)]
        self.library.vfd_log_consumer.argtypes = [HANDLE]
        self.library.vfd_log_consumer.restype = HANDLE
        self.library.vfd_version.restype = c_char_p

    def version(self):
        return self.library.vfd_version().decode()

    def consumer(self, log):
        return HANDLE(self.library.vfd_log_consumer(log))

    def call(self, name, *arguments):
        err = Error()
        if getattr(self.library, name)(*arguments, byref(err)):
            raise Refused(f"{err.operation.decode()}: {err.message.decode()}")

    def make(self, name, *arguments):
        handle = HANDLE()
        self.call(name, *arguments, byref(handle))
        return handle

    def take_all(self, consumer):
        """What is owed, as (address, size) of adjacent pages. Committed: a picture is as good as a copy here."""
        batch, run, count, runs = Batch(), Run(), c_size_t(), []
        self.call("vfd_take", consumer, 0, EVERYTHING, EVERYTHING, byref(batch))
        while batch.id:
            self.call("vfd_batch_runs", consumer, byref(batch), byref(run), 1, byref(count))
            if not count.value:
                self.call("vfd_commit", consumer, byref(batch), 0, EVERYTHING)
                break
            runs.append((run.address, run.size))
        return runs
