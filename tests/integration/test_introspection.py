# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the daemon says of itself is what data/*.xml promises: members, types, argument names, change signals."""

import os
import xml.etree.ElementTree as ET

import pytest

import monoshim_testing as t

DATA = os.path.join(os.environ.get("top_srcdir", t.TOP), "data")
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
