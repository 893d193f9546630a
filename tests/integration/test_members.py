# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every method, property and signal that data/*.xml promises is exercised by some integration test: a table, made by reading the
tests themselves."""

import ast
import os
import xml.etree.ElementTree as ET

import pytest

import monoshim_testing as t

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(os.environ.get("top_srcdir", t.TOP), "data")


def members():
    """(kind, interface, name) of each."""
    found = []
    for name in sorted(os.listdir(DATA)):
        if name.endswith(".xml"):
            for interface in ET.parse(os.path.join(DATA, name)).findall("interface"):
                found += [(e.tag, interface.get("name"), e.get("name")) for e in interface
                          if e.tag in ("method", "property", "signal")]
    return found


def strings(node):
    """The string constants below a node, its documentation left out, and the names of attributes and functions used."""
    documentation = {id(n.body[0].value) for n in ast.walk(node) if isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.Module)) and
                     n.body and isinstance(n.body[0], ast.Expr)}
    constants, names = set(), set()
    for n in ast.walk(node):
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in documentation:
            constants.add(n.value)
        elif isinstance(n, ast.Attribute):
            names.add(n.attr)
        elif isinstance(n, ast.Name):
            names.add(n.id)
        elif isinstance(n, ast.arg):  # fixtures
            names.add(n.arg)
    return constants, names


def parse(path):
    with open(path) as f:
        return ast.parse(f.read())


def vocabulary(wanted):
    """The harness's functions that name a member themselves: function -> members. (Constants of the module are tables of all
    members, so what only uses those does not count.)"""
    words = {}
    for n in ast.walk(parse(os.path.join(HERE, "monoshim_testing.py"))):
        if isinstance(n, ast.FunctionDef) and not n.name.startswith("_"):
            words.setdefault(n.name, set()).update(strings(n)[0] & wanted)
    return words


def table(wanted):
    """member's name -> the tests that name it, themselves or by a word of the harness or a function in their own file."""
    words = vocabulary(wanted)
    found = {name: set() for name in wanted}
    for name in sorted(os.listdir(HERE)):
        if not name.startswith("test_") or not name.endswith(".py") or name == os.path.basename(__file__):
            continue
        tree = parse(os.path.join(HERE, name))
        functions = {n.name: strings(n) for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        lists = {target.id: strings(n)[0] for n in tree.body if isinstance(n, ast.Assign) for target in n.targets
                 if isinstance(target, ast.Name)}
        for function in functions:
            if not function.startswith("test_"):
                continue
            seen, todo = set(), [function]
            while todo:
                f = todo.pop()
                if f in seen:
                    continue
                seen.add(f)
                constants, used = functions[f]
                constants = constants.union(*(lists.get(u, ()) for u in used), *(words.get(u, ()) for u in used))
                for member in constants & wanted:
                    found[member].add("%s::%s" % (name, function))
                todo += [u for u in used if u in functions]
    return found


MEMBERS = members()
TESTS = table({name for _, _, name in MEMBERS})


@pytest.mark.parametrize("kind, interface, name", MEMBERS, ids=["%s.%s" % (i.rpartition(".")[2], n) for _, i, n in MEMBERS])
def test_a_member_is_exercised(kind, interface, name):
    assert TESTS[name], "no test uses the %s %s.%s" % (kind, interface, name)
    print("%s.%s: %s" % (interface, name, ", ".join(sorted(TESTS[name]))))


def test_the_table_can_tell_what_is_missing():
    """A name that no test uses has no entry; one that a single test uses has that one."""
    made_up = "No" + "SuchMember"
    assert table({made_up})[made_up] == set()
    only = "test_subscribe.py::test_what_has_been_is_replayed_and_then_what_comes"
    assert only in TESTS["SubscribeEvents"] and only not in TESTS["Pause"]


def test_the_members_are_many():
    assert len(MEMBERS) >= 8 + 7 + 10 + 8 + 7 + 10 + 8
    assert {k for k, _, _ in MEMBERS} == {"method", "property", "signal"}
