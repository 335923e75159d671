#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Are the structs and numbers of vfiodirty.py those of the header? Prints a C program that compiles only if they are:

layout.py | cc -fsyntax-only -I include -xc -"""

import ctypes

import vfiodirty

print("#include <stddef.h>\n#include <vfiodirty.h>\n#define SAME(c, python) _Static_assert((c) == (python), #c)")
for name, struct in vfiodirty.STRUCTS.items():
    print(f"SAME(sizeof(struct {name}), {ctypes.sizeof(struct)});")
    for field, *_ in struct._fields_:
        place = getattr(struct, field)
        print(f"SAME(offsetof(struct {name}, {field}), {place.offset});")
        print(f"SAME(sizeof(((struct {name} *)0)->{field}), {place.size});")
for number in "MAP_READ", "MAP_WRITE", "COLLECT":
    print(f"SAME(VFD_{number}, {getattr(vfiodirty, number)});")
