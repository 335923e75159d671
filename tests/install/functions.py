#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Names the functions that a preprocessed header declares, one a line, as a plain C parser reads it (pycparser, stdin)."""

import sys

from pycparser import c_ast, c_parser

for node in c_parser.CParser().parse(sys.stdin.read()).ext:
    if isinstance(node, c_ast.Decl) and isinstance(node.type, c_ast.FuncDecl) and node.name.startswith("vfd_"):
        print(node.name)
    elif isinstance(node, c_ast.FuncDef):
        sys.exit(f"{node.decl.name} has a body: it is no symbol")
