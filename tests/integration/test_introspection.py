# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the daemon says of itself is what data/*.xml promises: members, types, argument names, change signals. And what
org.monoshim1(5) promises is neither more nor less than that, options, errors and topics included."""

import os
import re
import xml.etree.ElementTree as ET

import pytest

import monoshim_testing as t

SOURCES = os.environ.get("top_srcdir", t.TOP)
DATA = os.path.join(SOURCES, "data")
EMITS_CHANGE = "org.freedesktop.DBus.Property.EmitsChangedSignal"


def describe(interface):
    """An <interface> element as a dictionary: member -> everything that a client can rely on."""
    members = {}
    for e in interface:
        if e.tag in ("method", "signal"):
            default = "in" if e.tag == "method" else None
            value = [(a.get("type"), a.get("name"), a.get("direction", default) if default else None)
                     for a in e.iter("arg")]
        elif e.tag == "property":
            annotations = {a.get("name"): a.get("value") for a in e.iter("annotation")}
            value = (e.get("type"), e.get("access"), annotations.get(EMITS_CHANGE, "true"))
        else:
            continue
        key = (e.tag, e.get("name"))
        assert key not in members, "%s stands there twice" % (key,)
        members[key] = value
    return members


def promised(interface):
    tree = ET.parse(os.path.join(DATA, interface + ".xml"))
    found = tree.findall("interface")
    assert [i.get("name") for i in found] == [interface]
    return describe(found[0])


def live(client, path):
    text = client.call(path, "org.freedesktop.DBus.Introspectable", "Introspect")[0]
    return {i.get("name"): describe(i) for i in ET.fromstring(text).findall("interface")}


@pytest.fixture(params=["peer-to-peer", "dbus-daemon"])
def connection(request):
    # The bus has to outlive the daemon, so it is made first.
    bus = request.getfixturevalue("message_bus") if request.param == "dbus-daemon" else None
    daemon = request.getfixturevalue("make_daemon")(runtime=t.FAKE_RUNTIME, bus=bus.address if bus else "none")
    return bus.connect() if bus else daemon.connect()


def test_the_manager_is_as_described(connection):
    found = live(connection, t.ROOT_PATH)
    assert found[t.MANAGER] == promised(t.MANAGER)
    assert {t.PROPERTIES, t.OBJECT_MANAGER, "org.freedesktop.DBus.Introspectable", "org.freedesktop.DBus.Peer"} <= set(found)


def test_a_container_and_its_init_are_as_described(connection, bundle):
    container = connection.create("c-1", bundle("sleep", "1000"))
    found = live(connection, container.path)
    assert found[t.CONTAINER] == promised(t.CONTAINER)
    assert found[t.PROCESS] == promised(t.PROCESS)
    assert t.PROPERTIES in found
    container.end()


def test_an_exec_is_as_described(connection, bundle):
    container = connection.create("c-1", bundle("sleep", "1000"))
    e = container.exec("e.1", "sleep", "1000")
    found = live(connection, e.path)
    assert found[t.PROCESS] == promised(t.PROCESS)
    assert t.PROPERTIES in found and t.CONTAINER not in found and t.MANAGER not in found
    container.end()


def test_containers_can_be_found_by_walking_down(connection, bundle):
    container = connection.create("c-1", bundle("sleep", "1000"))
    path = t.ROOT_PATH
    for step in container.path[len(t.ROOT_PATH) + 1:].split("/"):
        text = connection.call(path, "org.freedesktop.DBus.Introspectable", "Introspect")[0]
        # sd-bus lists whole paths of enumerated objects below the node that they hang on, others step by step.
        names = [n.get("name") for n in ET.fromstring(text).findall("node")]
        if any(path + "/" + n == container.path for n in names):
            break
        assert step in names, "%s is not below %s, only %s" % (step, path, names)
        path += "/" + step
    container.end()


def test_every_property_has_the_type_it_says(connection, bundle):
    container = connection.create("c-1", bundle("sleep", "1000"))
    for path, interface in ((t.ROOT_PATH, t.MANAGER), (container.path, t.CONTAINER), (container.path, t.PROCESS)):
        values = connection.call(path, t.PROPERTIES, "GetAll", "s", interface)[0]
        assert {n: v[0] for n, v in values.items()} == {
            name: value[0] for (tag, name), value in promised(interface).items() if tag == "property"}
    container.end()


# The manual page


def macro_words(line):
    """The arguments of a macro line, as roff takes them apart."""
    return [quoted if line[m.start()] == '"' else word for m in re.finditer(r'"([^"]*)"|((?:\\.|[^\s"\\])+)', line)
            for quoted, word in [m.groups()]]


def unescape(text):
    text = re.sub(r"\\f[BIR]", "", text)
    return text.replace(r"\(->", "->").replace(r"\-", "-").replace("\\ ", " ")


def plain(line):
    """A line of the page as it is read."""
    macro, _, rest = line.partition(" ")
    if re.fullmatch(r"\.(BR|BI|RB|RI|IB|IR)", macro):
        return unescape("".join(macro_words(rest)))
    if macro in (".B", ".I"):
        return unescape(" ".join(macro_words(rest)))
    return "" if macro.startswith(".") else unescape(line)


def bold(line):
    """What is bold in a line of the page."""
    macro, _, rest = line.partition(" ")
    words = [unescape(w) for w in macro_words(rest)]
    return {".B": words, ".BR": words[::2], ".BI": words[::2], ".RB": words[1::2], ".IB": words[1::2]}.get(macro, [])


def read_page(path):
    """(section, subsection) -> [(tag, what stands behind it)], and every line under the same key with the tag None."""
    found, where, entry = {}, ("", ""), None
    with open(path) as f:
        lines = f.read().splitlines()
    for line, before in zip(lines, [""] + lines):
        if line.startswith(".SH "):
            where, entry = (" ".join(macro_words(line[4:])), ""), None
        elif line.startswith(".SS "):
            where, entry = (where[0], " ".join(macro_words(line[4:]))), None
        elif before == ".TP":
            entry = (plain(line), [])
            found.setdefault(where, []).append(entry)
        elif line in (".PP", ".TP"):
            entry = None
        elif entry:
            entry[1].append(line)
    return found


def split_outside(text, separator=","):
    """Splits at separators that do not stand in parentheses or braces."""
    parts, depth = [""], 0
    for c in text:
        depth += (c in "({") - (c in ")}")
        if c == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [p.strip() for p in parts if p.strip()]


def named(tag):
    """"A (s, constant), B (u)" as [("A", ["s", "constant"]), ("B", ["u"])]."""
    found = []
    for part in split_outside(tag):
        m = re.fullmatch(r"(\w+) \((.*)\)", part)
        assert m, "\"%s\" is no NAME (TYPE)" % part
        found.append((m[1], split_outside(m[2])))
    return found


def unique(pairs):
    pairs = list(pairs)
    assert len({name for name, _ in pairs}) == len(pairs), "something stands there twice: %s" % sorted(pairs)
    return dict(pairs)


def arguments(text, direction):
    return [tuple(a.rsplit(" ", 1)) + (direction,) for a in split_outside(text)]


PAGE_PATH = os.path.join(SOURCES, "man", "org.monoshim1.5")
PAGE = read_page(PAGE_PATH)
INTERFACES = {t.MANAGER: "THE MANAGER INTERFACE", t.CONTAINER: "THE CONTAINER INTERFACE", t.PROCESS: "THE PROCESS INTERFACE"}


def documented_method(tag):
    m = re.fullmatch(r"(\w+) ?\((.*?)\)(?: -> \((.*)\))?", tag)
    assert m, "\"%s\" is no METHOD(ARGUMENTS) -> (RESULTS)" % tag
    return m[1], arguments(m[2], "in") + arguments(m[3] or "", "out")


def of_kind(interface, kind):
    return {name: value for (tag, name), value in promised(interface).items() if tag == kind}


@pytest.mark.parametrize("interface", INTERFACES)
def test_the_page_has_every_method_with_its_arguments(interface):
    found = unique(documented_method(tag) for tag, _ in PAGE[INTERFACES[interface], "Methods"])
    assert found == of_kind(interface, "method")
    assert len(found) >= 7


@pytest.mark.parametrize("interface", INTERFACES)
def test_the_page_has_every_property_with_its_type(interface):
    found = unique(p for tag, _ in PAGE[INTERFACES[interface], "Properties"] for p in named(tag))
    wanted = {name: [value[0]] + (["constant"] if value[2] == "const" else [])
              for name, value in of_kind(interface, "property").items()}
    assert found == wanted
    assert len(found) >= 8


def test_the_page_has_every_signal_with_its_arguments_and_topic():
    common = [("t", "sequence", None), ("s", "namespace", None), ("s", "container_id", None)]
    page = [(name, types, body) for tag, body in PAGE["SIGNALS", ""] for name, types in named(tag)]
    found = unique((name, common + [tuple(a.rsplit(" ", 1)) + (None,) for a in types]) for name, types, _ in page)
    assert found == of_kind(t.MANAGER, "signal")
    topics = {name: [topic for line in body[:2] for topic in re.findall(r"/tasks/[a-z-]+", plain(line))] for name, _, body in page}
    assert topics == {name: [topic] for name, topic in t.TOPICS.items()}


# Options: the page, the daemon's tables, and what the daemon says when they are of the wrong type, are the same.

# table in src/bus/*.c -> the method that it is for
OPTION_TABLES = {"option_table": "CreateContainer", "exec_options": "Exec", "checkpoint_options": "Checkpoint",
                 "subscribe_options": "SubscribeEvents"}
STREAM = "s or h"


def bus_sources():
    folder = os.path.join(SOURCES, "src", "bus")
    for name in sorted(os.listdir(folder)):
        if name.endswith(".c"):
            with open(os.path.join(folder, name)) as f:
                yield f.read()


def option_tables():
    tables = {}
    for text in bus_sources():
        for name, body in re.findall(r"static const BusOption (\w+)\[\] = \{(.*?)\n\};", text, re.S):
            rows = re.findall(r"""^ +(?:OPTION\((?:\w+, )?|\{ )"(\w+)", +(?:"([^"]+)"|NULL), +(\w+)""", body, re.M)
            assert len(rows) == len(re.findall(r"^ +(?!\{\})\S", body, re.M)), "%s has rows that are not understood" % name
            for _, signature, reader in rows:
                assert bool(signature) == (reader != "bus_option_stream")
            tables[name] = unique((option, signature or STREAM) for option, signature, _ in rows)
    return tables


def documented_options(method):
    return unique((name, "".join(types)) for tag, _ in PAGE["OPTIONS", method] for name, types in named(tag))


def test_the_page_has_every_option_with_its_type():
    tables = option_tables()
    assert set(tables) == set(OPTION_TABLES)
    for table, method in OPTION_TABLES.items():
        assert documented_options(method) == tables[table], method
    assert {where[1] for where in PAGE if where[0] == "OPTIONS"} == set(OPTION_TABLES.values())
    assert [len(tables[name]) for name in ("option_table", "exec_options", "checkpoint_options", "subscribe_options")] >= [19, 7, 8, 2]


def test_every_documented_option_is_known_and_no_other(daemon, client, bundle):
    container = client.create("c-1", bundle("sleep", "1000"))
    calls = {
        "CreateContainer": lambda o: client.manager("CreateContainer", "sssa{sv}", "default", "c-2", "", o),
        "Exec": lambda o: container.verb("Exec", "ssa{sv}", "e", "{}", o),
        "Checkpoint": lambda o: container.verb("Checkpoint", "sa{sv}", "/nowhere", o),
        "SubscribeEvents": lambda o: client.manager("SubscribeEvents", "ta{sv}", 0, o),
    }
    assert set(calls) == set(OPTION_TABLES.values())
    for method, call in calls.items():
        for option, signature in documented_options(method).items():
            # No option is a double.
            with t.refused("InvalidArgument", option + ": must be ",
                           "a string or a file descriptor" if signature == STREAM else 'of type "%s"' % signature):
                call({option: ("d", 1.0)})
        every = set().union(*map(documented_options, calls))
        for option in sorted(every - set(documented_options(method)) | {"NoSuchOption"}):
            with t.refused("InvalidArgument", option + ": there is no such option"):
                call({option: ("d", 1.0)})
    container.delete()


def test_the_page_has_every_figure():
    found = unique((name, "".join(types)) for tag, _ in PAGE["FIGURES", ""] for name, types in named(tag))
    assert found == {name: "t" for name in t.STATISTICS}
    text = "".join(bus_sources())
    table = re.search(r"stat_names\[[^]]*\] = \{(.*?)\n\};", text, re.S)[1]
    assert set(re.findall(r'"(\w+)"', table)) | {"OOMKills"} == set(found)


def test_the_page_has_every_error():
    found = [tag for tag, _ in PAGE["ERRORS", ""]]
    used = {"org.monoshim1.Error." + name for text in bus_sources() for name in re.findall(r'MONOSHIM_ERROR\("(\w+)"\)', text)}
    assert sorted(found) == sorted(used)
    assert len(found) >= 9
    with open(PAGE_PATH) as f:
        mentioned = set(re.findall(r"org\.freedesktop\.DBus\.Error\.\w+", f.read()))
    bus = set(re.findall(r"SD_BUS_ERROR_(\w+)", "".join(bus_sources())))
    standard = {"ACCESS_DENIED": "AccessDenied", "FAILED": "Failed",
                "INTERACTIVE_AUTHORIZATION_REQUIRED": "InteractiveAuthorizationRequired"}
    assert set(standard) <= bus
    # sd-bus itself says InvalidArgs.
    assert mentioned == {"org.freedesktop.DBus.Error." + n for n in [*standard.values(), "InvalidArgs"]}


def test_the_page_has_every_mount_option():
    with open(os.path.join(SOURCES, "src", "host", "mount-options.c")) as f:
        text = f.read()
    flags = re.findall(r'^ +\{ "(\w+)", +(?:NULL|"\w+"), ', text, re.M)
    propagations = re.findall(r'\{ "(\w+)", +MS_', text)
    assert "bind" in flags and "rslave" in propagations and len(flags) >= 17 and len(propagations) == 8
    with open(PAGE_PATH) as f:
        section = re.search(r"^\.SH MOUNTS$(.*?)^\.SH ", f.read(), re.S | re.M)[1]
    words = {w for line in section.splitlines() for w in bold(line)}
    assert words >= set(flags) | {p for p in propagations if not p.startswith("r")}


@pytest.mark.parametrize("file, name", [("src/host/mounts.h", "MOUNTS_MAX")])
def test_the_page_has_every_limit(file, name):
    with open(os.path.join(SOURCES, file)) as f:
        limit, = re.findall(r"^#define %s (\d+)$" % name, re.sub(r" */\*.*", "", f.read()), re.M)
    text = " ".join(limits_section())
    assert re.search(r"\b%s\b" % limit, text), text


def limits_section():
    with open(PAGE_PATH) as f:
        return re.search(r"^\.SS Limits$(.*?)^\.SH ", f.read(), re.S | re.M)[1].splitlines()


# Names with a capital inside that are not ours.
FOREIGN = {"AddMatch", "RemoveMatch", "GetNameOwner", "BecomeMonitor", "InterfacesAdded", "InterfacesRemoved", "RuntimeTimeoutSec",
           "MaxRuntimeJobs"}


def test_the_page_speaks_of_nothing_that_does_not_exist():
    known = set(FOREIGN) | {name for table in option_tables().values() for name in table} | set(t.STATISTICS)
    known |= {name for interface in INTERFACES for _, name in promised(interface)}
    known |= {tag.rpartition(".")[2] for tag, _ in PAGE["ERRORS", ""]} | {"AccessDenied"}
    with open(PAGE_PATH) as f:
        lines = f.read().splitlines()
    said = {w for line in lines for b in bold(line) for w in re.findall(r"(?<![\w.])[A-Z][a-z]+[A-Z]\w*", b)}
    assert "CreateContainer" in said and "OpenPidFD" in said
    assert said <= known, sorted(said - known)
