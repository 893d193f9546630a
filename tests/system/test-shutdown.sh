#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A machine with containers is shut down: each is asked as it wants to be, has its time, and tells of it in a file that
# outlives the machine.

set -u
here=${top_srcdir:-.}/tests/system
[ -n "${MONOSHIM_INSTALLED-}" ] || { echo '1..0 # SKIP this is for "make check-system", which installs what is to be tested'; exit 0; }

work=$(mktemp -d "${TMPDIR:-/tmp}/monoshim-shutdown.XXXXXX") || exit 99
trap 'rm -rf "$work"' EXIT
trap 'exit 99' HUP INT TERM
mkdir "$work/shared" "$work/copy"

cat >"$work/copy/inside" <<'END'
set -eu
mkdir -p /run/systemd/system/monoshim-shutdown.service.d root/bin root/shared root/proc
printf '[Service]\nEnvironment=MONOSHIM_STOP_TIMEOUT=3s\n' >/run/systemd/system/monoshim-shutdown.service.d/test.conf
systemctl daemon-reload
cp /bin/busybox root/bin/
for name in sh sleep echo; do
        ln -s busybox root/bin/$name
done

# container NAME NAMESPACE ANNOTATIONS PROGRAM
container() {
        mkdir "$1"
        cat >"$1/config.json" <<JSON
{ "ociVersion": "1.0.2", "annotations": $3,
  "process": { "user": { "uid": 0, "gid": 0 }, "cwd": "/", "env": [ "PATH=/bin" ], "args": [ "sh", "-c", "$4" ] },
  "root": { "path": "$PWD/root" },
  "mounts": [ { "destination": "/proc", "type": "proc", "source": "proc" },
              { "destination": "/shared", "type": "bind", "source": "/shared", "options": [ "bind", "rw" ] } ],
  "linux": { "cgroupsPath": "/mst-$1", "namespaces": [ { "type": "mount" }, { "type": "pid" } ],
             "resources": { "devices": [ { "allow": false, "access": "rwm" } ] } } }
JSON
        monoshim run -d -n "$2" -b "$PWD/$1" "$1"
}

# program NAME SIGNAL: takes its time to end
program() {
        echo "trap 'echo $1 $2 >>/shared/log; sleep 1; echo $1 done >>/shared/log; exit 0' $2; echo $1 ready >>/shared/log;
              sleep 1000 & wait" | tr '\n' ' '
}

container listens default '{}' "$(program listens TERM)"
container wants other '{ "org.opencontainers.image.stopSignal": "SIGUSR1" }' "$(program wants USR1)"
container frozen default '{}' "$(program frozen TERM)"
container deaf default '{}' "trap '' TERM; echo deaf ready >>/shared/log; while :; do sleep 0.1; done"
while [ "$(grep -c ready /shared/log)" -lt 4 ]; do
        sleep 0.1
done
monoshim pause frozen
systemctl restart monoshim.service
monoshim exec -d listens sleep 1000
monoshim list --all-namespaces --no-legend | sort
END

"$here/bed" systemd -i "$MONOSHIM_INSTALLED" -c "$work/copy" -s "$work/shared" -- sh inside >"$work/output" 2>"$work/errors"
status=$?
[ $status -ne 77 ] || { echo "1..0 # SKIP $(grep . "$work/errors" | tail -n 1)"; exit 0; }
cat "$work/output" "$work/errors" "$work/shared/log" >&2

n=0
# check WHAT COMMAND...
check() {
        what=$1
        shift
        n=$((n + 1))
        if "$@"; then
                echo "ok $n - $what"
        else
                echo "not ok $n - $what"
        fi
}

said() {
        grep -q -x "$1" "$work/shared/log" 2>/dev/null
}

check 'four containers run, one of them paused' test "$status $(grep -c running "$work/output") $(grep -c paused "$work/output")" = "0 3 1"
check 'a restart of the daemon asks nobody to end' test "$(grep -c -e TERM -e USR1 "$work/shared/log")" -eq 3
check 'a container is asked with SIGTERM' said 'listens TERM'
check 'and has its time to end' said 'listens done'
check 'one that wants another signal gets that' said 'wants USR1'
check 'in whatever namespace it is' said 'wants done'
check 'one that is paused is resumed to hear of it' said 'frozen TERM'
check 'and has its time, too' said 'frozen done'
check 'one that does not listen does not hold up the machine' test ! -s "$work/errors"
echo "1..$n"
