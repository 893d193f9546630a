# SPDX-License-Identifier: LGPL-2.1-or-later
"""monoshim run and create without a bundle: a command in a root file system."""

import json
import os
import re
import subprocess

import pytest

import monoshim_testing as t
from test_client import Terminal, fake_shell, make_shell, shell  # noqa: F401 (fixtures)


@pytest.fixture
def root(directory):
    """A root file system of this test's own, which may be written to."""
    path = os.path.join(directory, "root")
    t.populate_rootfs(path)
    return path


def spec_of(client, id, ns="default"):
    """The config.json that the daemon was given."""
    with open(os.path.join(client.container(id, ns=ns).get("Bundle", t.CONTAINER), "config.json")) as f:
        return json.load(f)


def test_a_command_runs_and_its_status_is_ours(shell, client, root):
    r = shell("run", "--rootfs", root, "--", "sh", "-c", "echo hi; exit 3")
    assert (r.status, r.out, r.err) == (3, "hi\n", "")
    assert client.list() == {}
    events = client.get_events()[1]
    assert [e.name for e in events] == ["TaskCreate", "TaskStart", "TaskExit", "TaskDelete"]
    assert re.fullmatch("[0-9a-f]{12}", events[0].id)
    assert os.path.exists(os.path.join(root, "bin/busybox")), "the root file system is the user's, and stays"


def test_the_options_of_the_command_are_its_own(shell, root):
    shell("run", "--rootfs", root, "sh", "-c", "echo $0 $@", "-x", "--rm", "--", "-d").ok("-x --rm -- -d\n")
    r = shell("run", "--rm", "--name", "web", "--rootfs=" + os.path.relpath(root, shell.cwd), "hostname")
    r.ok("web\n")
    shell("run", "--rootfs", root, input="echo from sh\n").ok("from sh\n")


def test_what_is_asked_for_holds_in_the_container(shell, root, directory):
    os.mkdir(os.path.join(root, "data"))
    os.mkdir(os.path.join(directory, "source"))
    with open(os.path.join(directory, "source", "file"), "w") as f:
        f.write("content\n")
    r = shell("run", "--rootfs", root, "-e", "A=1", "-e", "B", "--env=A=2", "--cwd=/tmp", "--user=12:34", "--hostname=there", "--read-only",
              "--mount", "type=bind,src=./source,dst=/data,ro", "--mount=type=tmpfs,dst=/scratch,size=64K,mode=1777",
              "sh", "-c", "echo $A $B; echo $PWD; id -u; id -g; hostname; cat /data/file; touch /scratch/x && echo tmp; "
              "touch /data/y 2>/dev/null || echo ro-data; touch /z 2>/dev/null || echo ro; stat -f -c '%b %S' /scratch",
              env={"B": "of ours"})
    blocks = "%d %d" % (65536 // os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PAGE_SIZE"))
    r.ok("2 of ours\n/tmp\n12\n34\nthere\ncontent\ntmp\nro-data\nro\n%s\n" % blocks)


def test_limits_reach_the_control_group(shell, client, root):
    id = shell("run", "-d", "--rootfs", root, "--memory=64M", "--cpus", "0.5", "--pids-limit=17", "--label", "a=b", "sleep", "inf").ok(None).strip()
    c = client.container(id)
    stats = c.stats()
    assert stats["MemoryMax"] == 64 << 20
    assert stats["PidsMax"] == 17
    resources = spec_of(client, id)["linux"]["resources"]
    assert resources["cpu"] == {"quota": 50000, "period": 100000}
    assert c.get("Labels", t.CONTAINER) == {"a": "b"}
    shell("delete", "-f", id).ok()
    assert os.path.exists(os.path.join(root, "bin/busybox"))


def test_a_terminal_and_typing(shell, root):
    with Terminal(shell, "run", "-it", "--rootfs", root) as terminal:
        terminal.read_until("# ")
        os.write(terminal.fd, b"tty; exit 5\r")
        assert terminal.wait() == 5
        assert "/dev/pts/0" in terminal.text or "/dev/console" in terminal.text, terminal.text


def test_the_configuration_is_that_of_runc(fake, fake_shell, root, directory):
    """What "runc spec" of this machine's runc writes, but for what is said anew each time."""
    fake_shell("create", "--rootfs", root, "-n", "k8s.io", "--name", "web", "-t", "sleep", "inf", env={"TERM": "vt100"}).ok("web\n")
    ours = spec_of(fake.connect(), "web", ns="k8s.io")
    subprocess.run(["runc", "spec"], cwd=directory, check=True)
    with open(os.path.join(directory, "config.json")) as f:
        theirs = json.load(f)

    assert ours["root"] == {"path": root, "readonly": False}
    assert ours["hostname"] == "web"
    assert ours["linux"].pop("cgroupsPath") == "/monoshim-k8s.io@web"
    assert ours["process"]["args"] == ["sleep", "inf"]
    assert ours["process"]["env"] == theirs["process"]["env"][:1] + ["TERM=vt100"]
    for key in ("args", "env"):
        ours["process"][key] = theirs["process"][key]
    for key in ("root", "hostname", "ociVersion"):
        ours[key] = theirs[key]
    assert ours == theirs


def test_ids_in_two_namespaces_are_two_containers(shell, client, root):
    for ns in ("one", "two"):
        shell("run", "-d", "-n", ns, "--name=web", "--rootfs", root, "sleep", "inf").ok("web\n")
    groups = {client.container("web", ns=ns).get("ControlGroup", t.CONTAINER) for ns in ("one", "two")}
    assert len(groups) == 2
    shell("delete", "-f", "one/web", "two/web").ok()


def test_a_name_is_an_id_with_a_bundle_too(shell, bundle):
    shell("run", "-b", bundle("echo", "hi"), "--name=k8s.io/web").ok("hi\n")
    shell("run", "web", "-b", bundle("echo", "options behind the id")).ok("options behind the id\n")


def test_a_root_that_is_not_there_is_told(shell, client):
    shell("run", "-d", "--rootfs=/nowhere", "true").failed(125, "/nowhere")
    assert client.list() == {}


@pytest.mark.parametrize("arguments, texts", [
    (["--env=A=1", "web"], ["--env needs --rootfs="]),
    (["--rootfs=/x", "--bundle=/y", "true"], ["exclude"]),
    (["web", "--rootfs=/x", "true"], ["has to stand before the command", "--name="]),
    (["web", "--rootfs=/x"], ["has to stand before the command"]),
    (["--rootfs=", "true"], ["--rootfs= needs a directory"]),
    (["--rootfs=/x", "-e", "=1"], ["--env= takes NAME or NAME=VALUE", '"=1"']),
    (["--rootfs=/x", "--cwd=tmp"], ["--cwd= takes an absolute path", '"tmp"']),
    (["--rootfs=/x", "--user=root"], ["--user= takes UID or UID:GID", '"root"']),
    (["--rootfs=/x", "--hostname="], ["--hostname= takes a name"]),
    (["--rootfs=/x", "--memory=much"], ["--memory= takes bytes", '"much"']),
    (["--rootfs=/x", "--cpus=all"], ["--cpus= takes a number", '"all"']),
    (["--rootfs=/x", "--pids-limit=-2"], ["--pids-limit= takes a number", '"-2"']),
    (["--rootfs=/x", "--mount=src=/a,dst=/b"], ["--mount= takes type=bind", '"type=" is missing']),
    (["--rootfs=/x", "--mount=type=volume,dst=/b"], ['"type=" takes bind or tmpfs, not "volume"']),
    (["--rootfs=/x", "--mount=type=bind,dst=/b"], ['needs "src="']),
    (["--rootfs=/x", "--mount=type=bind,src=/a,dst=b"], ['"dst=" has to be an absolute path']),
    (["--rootfs=/x", "--mount=type=bind,src=/a,dst=/b,size=1M"], ["are for a tmpfs"]),
    (["--rootfs=/x", "--mount=type=tmpfs,src=/a,dst=/b"], ['has no "src="']),
    (["--rootfs=/x", "--mount=type=tmpfs,dst=/b,size=big"], ['"size=" takes an amount', '"big"']),
    (["--rootfs=/x", "--mount=type=tmpfs,dst=/b,mode=rwx"], ['"mode=" takes an octal number', '"rwx"']),
    (["--rootfs=/x", "--mount=type=tmpfs,dst=/b,fast"], ['"fast" is none of']),
    (["--rm", "-d", "--rootfs=/x"], ["--rm and --detach exclude each other"]),
    (["--name=web", "web"], ['no argument "web"']),
])
def test_what_is_wrong_is_named_with_what_is_taken(make_shell, arguments, texts):
    make_shell("/nowhere")("run", *arguments).failed(125, *texts, lines=2)
