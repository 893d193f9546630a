#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Shows monoshimd at work, without a message bus and without touching anything outside of a temporary directory:
# demo.sh [CMD...], with MONOSHIMD and MONOSHIM naming the programs. Needs root, runc and a static busybox.
#
# Without CMD two containers run, one that looks around and one that ends with status 7, and the exit status says whether
# everything was as it ought to be. With CMD that is what runs in the one container, and its exit status is ours.

set -u

id=hello
dir=
daemon=
follower=

die() {
        echo "demo: $*" >&2
        [ -z "$dir" ] || sed 's/^/monoshimd: /' "$dir/log" >&2
        exit 125
}

# However the demo ends, nothing stays behind. In the end there is nothing left to do for it, as long as all goes well.
clean_up() {
        stop_following
        if [ -n "$daemon" ]; then
                kill "$daemon" 2>/dev/null
                wait "$daemon"
        fi
        for left in "$dir"/runtime/*/*/; do
                [ ! -d "$left" ] || runc --root "$(dirname "$left")" delete --force "$(basename "$left")"
        done
        rm -rf "$dir"
}

stop_following() {
        [ -n "$follower" ] || return 0
        { kill "$follower"; wait "$follower"; } 2>/dev/null
        follower=
}

# wait_until SECONDS COMMAND...
wait_until() {
        tries=$(($1 * 20))
        shift
        until "$@"; do
                tries=$((tries - 1))
                [ $tries -gt 0 ] || return 1
                sleep 0.05
        done
}

# The words, as the elements of a JSON array.
json_strings() {
        comma=
        for word; do
                printf '%s"' "$comma"
                printf '%s\n' "$word" | sed 's/\\/\\\\/g; s/"/\\"/g; s/	/\\t/g' | awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }'
                printf '"'
                comma=', '
        done
}

# make_bundle NAME CMD...: one root file system serves all of them; they differ in what they run.
make_bundle() {
        bundle=$dir/$1
        mkdir "$bundle"
        cat >"$bundle/config.json" <<END
{
  "ociVersion": "1.0.2",
  "hostname": "$1",
  "root": { "path": "$dir/rootfs", "readonly": true },
  "process": {
    "user": { "uid": 0, "gid": 0 },
    "cwd": "/",
    "env": [ "PATH=/bin", "TERM=dumb" ],
    "args": [ $(shift; json_strings "$@") ],
    "noNewPrivileges": true
  },
  "mounts": [
    { "destination": "/proc", "type": "proc", "source": "proc" },
    { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": [ "nosuid", "mode=755", "size=64k" ] }
  ],
  "linux": {
    "cgroupsPath": "/$tag-$1",
    "namespaces": [ { "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" } ]
  }
}
END
}

# run_container NAME CMD...: says what it does, and returns what the client returned.
run_container() {
        make_bundle "$@"
        echo
        echo "\$ monoshim run --bundle=$dir/$1 $1"
        "$MONOSHIM" --address="$address" run --bundle="$dir/$1" "$1"
        status=$?
        echo "(exit status $status)"
        return $status
}

# The signals of a container, in the order in which they came.
signals_of() {
        grep -w -- "$1" "$dir/events" | grep -oE 'Task[A-Z][A-Za-z]*|/tasks/[a-z-]+' | tr '\n' ' ' |
                sed 's|/tasks/create|TaskCreate|g; s|/tasks/start|TaskStart|g; s|/tasks/exit|TaskExit|g; s|/tasks/delete|TaskDelete|g'
}

was_deleted() {
        signals_of "$1" | grep -q TaskDelete
}

# What is left of the containers: processes, mounts, control groups, files. Nothing, if all is well.
remains() {
        for process in /proc/[0-9]*; do
                [ "${process#/proc/}" != $$ ] || continue
                if { tr '\0' ' ' <"$process/cmdline"; } 2>/dev/null | grep -qF "$dir"; then
                        echo "process ${process#/proc/}"
                fi
        done
        grep -F " $dir" /proc/self/mountinfo | sed 's/^/mount /'
        find /sys/fs/cgroup -type d -name "$tag*" 2>/dev/null | sed 's/^/control group /'
        # The hidden folders are the daemon's own: its events, and the slot of its seccomp agent.
        for place in state lib runtime; do
                find "$dir/$place" -mindepth 2 ! -path "$dir/$place/.*" 2>/dev/null | sed 's/^/file /'
        done
}

# -------------------------------------------------------------------------

: "${MONOSHIMD:?is to name the daemon}" "${MONOSHIM:?is to name the client}"
[ "$(id -u)" -eq 0 ] || die "only root can start containers"
command -v runc >/dev/null || die "runc is missing"
busybox=$(command -v busybox) || die "busybox is missing"

dir=$(mktemp -d /tmp/monoshim-demo.XXXXXX) || die "no temporary directory"
: >"$dir/log"
tag=$(basename "$dir" | tr . -)
address=unix:path=$dir/bus
trap clean_up EXIT
trap 'exit 130' HUP INT TERM

mkdir -p "$dir/rootfs/bin" "$dir/rootfs/proc" "$dir/rootfs/dev"
chmod 755 "$dir" "$dir/rootfs"
cp "$busybox" "$dir/rootfs/bin/busybox"
chroot "$dir/rootfs" /bin/busybox --install -s /bin || die "$busybox is not statically linked"

echo "\$ monoshimd --bus=none --listen=$dir/bus --state=$dir/state --root=$dir/lib --runtime-root=$dir/runtime &"
: >"$dir/monoshimd.conf"
"$MONOSHIMD" --bus=none --listen="$dir/bus" --state="$dir/state" --root="$dir/lib" --runtime-root="$dir/runtime" \
        --config="$dir/monoshimd.conf" >"$dir/log" 2>&1 &
daemon=$!
wait_until 10 test -S "$dir/bus" || die "monoshimd does not listen"

: >"$dir/events"
"$MONOSHIM" --address="$address" events --since=0 --follow >"$dir/events" &
follower=$!

failed=
expected='TaskCreate TaskStart TaskExit TaskDelete '

if [ $# -gt 0 ]; then
        run_container $id "$@"
        result=$?
        names=$id
else
        run_container $id sh -c '
                echo "Hello from $(hostname), on $(uname -sr)."
                echo "My shell is process $$, and these are all that I can see:"
                ps -o pid,comm; true' || failed="the first container ended with $?, not 0"
        run_container seven sh -c 'exit 7'
        [ $? -eq 7 ] || failed="the second container did not end with 7"
        result=0
        names="$id seven"
fi

for name in $names; do
        wait_until 5 was_deleted "$name" || [ -s "$dir/events" ] || die "there has been no container"
        signals=$(signals_of "$name"; echo .)
        [ "$signals" = "$expected." ] || failed="the signals of $name were: ${signals%.}"
done

stop_following
echo
echo "\$ monoshim events --since=0 --follow    (has been running all the time)"
cat "$dir/events"
for name in $names; do
        echo "In short, $name: $(signals_of "$name")"
done

echo
echo "\$ kill $daemon    (monoshimd)"
kill "$daemon"
wait "$daemon" || failed="monoshimd ended with $?"
daemon=
left=$(remains)
if [ -n "$left" ]; then
        failed="this is left over:
$left"
else
        echo "Nothing is left: no process, mount, control group or file of a container."
fi

echo
if [ -n "$failed" ]; then
        die "$failed"
elif [ $# -gt 0 ]; then
        echo "The container's exit status is $result, and so is this command's."
else
        echo "All as it should be."
fi
exit $result
