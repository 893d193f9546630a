# SPDX-License-Identifier: LGPL-2.1-or-later
"""Completion for bash, fish and zsh: it knows what --help knows, no more and no less, and the containers there are."""

import os
import pty
import re
import select
import shutil
import subprocess

import pytest

import monoshim_testing as t
from monoshim_testing import MONOSHIM
from test_client import fake_shell, make_shell, shell  # noqa: F401 (fixtures)

FILES = {"bash": "bash/monoshim", "fish": "fish/monoshim.fish", "zsh": "zsh/_monoshim"}
SHELLS = sorted(FILES)

# What bash's function answers to each line.
BASH = r"""
source "$1"
while IFS= read -r line; do
    read -ra COMP_WORDS <<<"${line//=/ = }"
    [[ $line == *[' =':] ]] && COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$line COMP_POINT=${#line} COMPREPLY=()
    _monoshim monoshim
    printf '%s\n' "${COMPREPLY[@]}" ==
done
"""

FISH = r"""
source $argv[1]
while read -l line
    complete -C$line | string replace -r '\t.*' ''
    echo ==
end
"""

# What zsh's function hands to _arguments, which is not there without its line editor.
ZSH = r"""
_arguments() { [[ $1 == -C ]] && { state=argument; words=("${(@)words[2,-1]}"); return 1; }; print -rl -- "${(@)${(@)@:#-[sSA]}%%\[*}"; }
_describe() { print -rl -- "${(@P)4%%:*}"; }
file=$1
while read -r line; do
    words=(monoshim ${=line#monoshim}) CURRENT=3 curcontext=:::
    source $file
    [[ ${#words} -ge 1 ]] && print -r '=='
done
"""


def interpreter(name):
    path = shutil.which(name)
    if not path:
        pytest.skip(name + " is not installed")
    return path


@pytest.fixture
def path(directory):
    """A PATH with monoshim in it."""
    os.mkdir(directory + "/bin")
    os.symlink(MONOSHIM, directory + "/bin/monoshim")
    return directory + "/bin:" + os.environ["PATH"]


def completion_file(name):
    return os.path.join(t.TOP, "data/completion", FILES[name])


def complete(name, lines, env, directory):
    """What is offered for each line."""
    script = {"bash": [BASH, "bash"], "fish": [FISH], "zsh": [ZSH, "zsh"]}[name]
    options = {"bash": ["--norc"], "fish": ["--no-config"], "zsh": ["-f"]}[name]
    r = subprocess.run([interpreter(name), *options, "-c", *script, completion_file(name)], input="".join(x + "\n" for x in lines),
                       env=dict(env, HOME=directory, LC_ALL="C.UTF-8"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       text=True, timeout=t.TIMEOUT)
    assert not r.stderr, r.stderr
    found = r.stdout.split("==\n")
    assert found.pop() == "" and len(found) == len(lines), r.stdout
    return [x.split("\n")[:-1] for x in found]


def options_in(text):
    """--long and -s of a text in which they stand as in a list of options."""
    long = set(re.findall(r"--[a-z][a-z-]*", text))
    return long | set(re.findall(r"(?:^|[\s({,'*])(-[a-zA-Z])(?=$|[\s,}+)]|\n)", text))


@pytest.fixture(scope="module")
def help():
    """The options of each verb, by its --help; of "help", those of all."""
    def run(*arguments):
        return subprocess.run([MONOSHIM, *arguments], check=True, stdout=subprocess.PIPE, text=True,
                              env=dict(os.environ, LC_ALL="C")).stdout

    text = run("--help")
    verbs = re.findall(r"^  ([a-z]+) ", text.partition("Verbs:")[2].partition("Options")[0], re.M)
    assert len(verbs) > 20
    return {verb: options_in(run("help", verb)) for verb in verbs}


@pytest.mark.parametrize("name", SHELLS)
def test_every_verb_and_option_of_the_help_is_known(name, help, path, directory):
    common = help["help"]
    env = dict(os.environ, PATH=path, MONOSHIM_ADDRESS="/nowhere")
    if name == "zsh":
        with open(completion_file(name)) as f:
            verbs = re.findall(r"^        '([a-z]+):", f.read(), re.M)
        offered = [options_in("\n".join(x)) for x in complete(name, ["monoshim " + v for v in help], env, directory)]
    else:
        verbs = [v for v in complete(name, ["monoshim "], env, directory)[0] if not v.startswith("-")]
        lists = complete(name, ["monoshim %s %s" % (v, dashes) for v in help for dashes in ("--", "-")], env, directory)
        offered = [{o.rstrip("=") for o in lists[i] + lists[i + 1]} for i in range(0, len(lists), 2)]
    assert sorted(verbs) == sorted(help)
    for verb, found in zip(help, offered):
        if name == "fish":  # it offers the long form alone where an option has both
            with open(completion_file(name)) as f:
                pairs = re.findall(r" -l ([a-z-]+) -s ([a-zA-Z])", f.read())
            found |= {"-" + s for o, s in pairs if "--" + o in found and "-" + s in help[verb] | common}
        assert not help[verb] - found, "%s does not know %s of %s" % (name, sorted(help[verb] - found), verb)
        assert not found - help[verb] - common, "%s has %s of %s, and it does not" % (name, sorted(found - help[verb] - common), verb)


@pytest.fixture
def environment(fake, fake_shell, bundle, path):
    """Containers in several states, and a monoshim in the PATH that finds them."""
    b = bundle("sleep", "inf")
    for id, verbs in (("running1", ["start"]), ("paused1", ["start", "pause"]), ("created1", []), ("k8s.io/pod", [])):
        fake_shell("create", "-b", b, id).ok(None)
        for verb in verbs:
            fake_shell(verb, id).ok(None)
    return fake_shell.environment(PATH=path, TERM="dumb")


@pytest.mark.parametrize("name", ["bash", "fish"])
def test_containers_are_offered_by_what_can_be_done_to_them(name, environment, directory):
    expected = {
        "monoshim start ": "created1", "monoshim resume p": "paused1", "monoshim exec ": "running1",
        "monoshim delete ": "created1 paused1 running1",
        "monoshim stop running": "running1", "monoshim -n k8s.io inspect ": "pod", "monoshim inspect --namespace=k8s.io p": "pod",
        "monoshim list -n ": "default k8s.io", "monoshim list --json=s": "--json=short" if name == "fish" else "short",
        "monoshim kill -s K": "KILL", "monoshim list --state=sto": "--state=stopped" if name == "fish" else "stopped",
        "monoshim help ch": "checkpoint", "monoshim list --label x --st": "--state" if name == "fish" else "--state=",
    }
    found = complete(name, list(expected), environment, directory)
    for (line, words), offered in zip(expected.items(), found):
        if not words.startswith("-"):
            offered = [x for x in offered if not x.startswith("-")]
        elif name == "fish":
            offered = [x.rstrip("=") for x in offered]
        assert sorted(offered) == words.split(), line


def test_zsh_completes_a_name_as_it_is_typed(environment, directory):
    zsh = interpreter("zsh")
    os.mkdir(directory + "/zsh")
    shutil.copy(completion_file("zsh"), directory + "/zsh")
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(zsh, ["zsh", "-f", "-i"], dict(environment, HOME=directory, PS1="> ", TERM="xterm"))

    seen = ""

    def read_until(text):
        nonlocal seen
        while text not in seen:
            assert select.select([fd], [], [], t.TIMEOUT)[0], seen
            seen += os.read(fd, 65536).decode(errors="replace")
        found, _, seen = seen.partition(text)
        return found + text

    try:
        os.write(fd, b"fpath=($HOME/zsh $fpath); autoload -U compinit && compinit -u -D; unsetopt beep; bindkey -e; "
                     b"zstyle ':completion:*' insert-tab false; echo re''ady\r")
        read_until("ready\r\n")
        for typed, whole in (("monoshim inspect pau", "paused1"), ("monoshim -n k8s.io start p", "pod"), ("monoshim resu", "resume"),
                             ("monoshim list --sta", "--state"), ("monoshim kill --signal=HU", "HUP")):
            read_until("\033[?2004h")  # the line editor is there
            os.write(fd, typed.encode() + b"\t\x01print -r -- '[\x05]'\r")
            assert whole in re.search(r"\r\n\[(.*?)\]", read_until("]\r\n"), re.S).group(1), typed
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(fd)
