# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Sourced by "bed": a machine made of namespaces. By itself, as "bed-systemd.sh STAGE TREE SHARED", it is what runs as process 1
# of that machine until systemd does.

# name and directory of each of this machine's cgroup hierarchies, and "-" for the one of cgroup v2. A hierarchy of v2
# beside ones of v1 is left out: crun wants to see either, and systemd too has to be told which.
hierarchies() {
        v1=$(awk '$3 == "cgroup" && $2 ~ "^/sys/fs/cgroup/" { print $4, $2 }' /proc/mounts | while read -r options dir; do
                name=$(echo "$options" | tr , '\n' | grep -v -x -e rw -e ro -e relatime -e nosuid -e nodev -e noexec -e xattr \
                        -e clone_children -e 'release_agent=.*' | paste -s -d ,)
                echo "$name $dir"
        done)
        if [ -n "$v1" ]; then
                echo "$v1"
        elif [ -e /sys/fs/cgroup/cgroup.controllers ]; then
                echo "- /sys/fs/cgroup"
        fi
}

# cgroup_of NAME: where this process is in the hierarchy of that name.
cgroup_of() {
        awk -v name="$1" -F : '(name == "-" && $1 == 0) || (name != "-" && $2 == name) { sub(/^[^:]*:[^:]*:/, ""); print }' \
                /proc/self/cgroup
}

bed_prepare() {
        [ -n "$(hierarchies)" ] || unavailable "no cgroups below /sys/fs/cgroup"
        unshare --mount --pid --fork --uts --ipc --net --cgroup true 2>/dev/null || unavailable "no namespaces can be made"
        grep -q -w overlay /proc/filesystems || modprobe overlay 2>/dev/null || unavailable "the kernel has no overlayfs"

        # With cgroup v2 a cgroup that has processes of its own cannot give controllers to others, and ours has at least us
        # and our caller. So we ask this machine's systemd for one.
        case $(hierarchies) in
        -*)
                [ -z "${MONOSHIM_BED_SCOPE-}" ] || return 0
                [ -d /run/systemd/system ] || unavailable "this machine has cgroup v2, and no systemd to hand out cgroups"
                MONOSHIM_BED_SCOPE=1 exec systemd-run --quiet --scope --collect --property=Delegate=yes -- "$0" "$@"
                ;;
        esac
}

# The pid, as seen from here, of the bed's process 1, once that is systemd.
bed_process_1() {
        pid=$(grep -l "^PPid:[[:blank:]]*$leader\$" /proc/[0-9]*/status | sed -n '1s/[^0-9]//gp') && [ -n "$pid" ] &&
                [ "$(cat "/proc/$pid/comm")" = systemd ] && echo "$pid"
} 2>/dev/null

bed_furnish() {
        :
}

# In all hierarchies the bed gets a cgroup below our own, so that whatever limits this process limits the bed, and that
# cgroup becomes its root. The list of them is written first, for whoever clears up.
enter_cgroups() {
        hierarchies | while read -r name dir; do
                own=$(cgroup_of "$name")
                if [ "$name" = - ]; then
                        mkdir "$dir$own/caller"
                        for pid in $(cat "$dir$own/cgroup.procs"); do
                                echo "$pid" >"$dir$own/caller/cgroup.procs"
                        done 2>/dev/null # one of them was "cat"
                        sed 's/[^ ]\+/+&/g' "$dir$own/cgroup.controllers" >"$dir$own/cgroup.subtree_control" ||
                                die "$dir$own cannot be shared out"
                fi
                echo "$dir${own%/}/monoshim-bed-$$"
        done >"$stage/cgroups" || exit

        while read -r dir; do
                mkdir "$dir" || die "$dir cannot be made"
                # A new cpuset is empty, and nothing can run there.
                for file in cpuset.cpus cpuset.mems; do
                        [ ! -e "$dir/$file" ] || [ -n "$(cat "$dir/$file")" ] || cat "${dir%/*}/$file" >"$dir/$file"
                done
                [ ! -e "$dir/cgroup.clone_children" ] || echo 1 >"$dir/cgroup.clone_children"
        done <"$stage/cgroups"
}

# Those of killed beds would stay for ever: a pid that nobody has is nobody's bed.
remove_cgroups() {
        while read -r dir; do
                for old in "${dir%/*}"/monoshim-bed-*; do
                        [ -d "$old" ] || continue
                        [ "$old" = "$dir" ] || [ ! -d "/proc/${old##*-}" ] || continue
                        # What is frozen does not even die of SIGKILL.
                        find "$old" -depth -name freezer.state -exec sh -c 'echo THAWED >"$1"' sh {} \; 2>/dev/null
                        for _ in 1 2 3 4 5 6 7 8 9 10; do
                                find "$old" -depth -type d -exec rmdir {} + 2>/dev/null
                                [ -d "$old" ] || break
                                sleep 0.1
                        done
                        [ ! -d "$old" ] || echo "bed: left over: $old" >&2
                done
        done <"$stage/cgroups"
}

bed_clean_up() {
        [ ! -e "$stage/cgroups" ] || remove_cgroups
}

bed_run() {
        enter_cgroups
        (
                me=$(exec sh -c 'echo $PPID')
                while read -r dir; do
                        echo "$me" >"$dir/cgroup.procs"
                done <"$stage/cgroups"
                exec setpriv --pdeathsig KILL setsid \
                        unshare --mount --pid --fork --kill-child=KILL --uts --ipc --net --cgroup \
                        sh "$here/bed-systemd.sh" "$stage" "$tree" "$shared"
        ) </dev/null >"$stage/log" 2>&1 &
        leader=$!

        state=
        tries=0
        while :; do
                kill -0 "$leader" 2>/dev/null || { cat "$stage/log" >&2; die "the bed has died"; }
                init=$(bed_process_1) && state=$(nsenter -t "$init" -a --wdns=/ systemctl is-system-running 2>/dev/null)
                case $state in
                running | degraded) break ;;
                esac
                tries=$((tries + 1))
                [ $tries -lt 1200 ] || { cat "$stage/log" >&2; die "the bed does not come up (${state:-no systemd})"; }
                sleep 0.05
        done

        status=0
        nsenter -t "$init" -a --wdns=/ env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
                sh -c "$become_command" bed "$@" || status=$?

        # This is how to tell systemd to power off; process 1 then exits.
        kill -s RTMIN+4 "$init"
        tries=0
        while kill -0 "$leader" 2>/dev/null && [ $tries -lt 300 ]; do
                tries=$((tries + 1))
                sleep 0.05
        done
        [ $tries -lt 300 ] || echo "bed: it did not shut down in time, and was killed" >&2
}

# The command gets the cgroups of a unit that does nothing else. It is not made a unit itself: "systemd-run --wait" would not
# outlive the bus, which some command may want to see restarted.
become_command='
        systemd-run --quiet --unit=bed --service-type=exec --property=Delegate=yes sleep infinity || exit 125
        pid=$(systemctl show --value --property=MainPID bed.service)
        while IFS=: read -r _ name path; do
                dir=/sys/fs/cgroup/${name#name=}$path
                [ ! -e "$dir/cgroup.procs" ] || echo $$ >"$dir/cgroup.procs" || exit 125
        done <"/proc/$pid/cgroup"
        cd /monoshim || exit 125
        exec "$@"'

# Inside -----------------------------------------------------------------

# systemd is at home in a container, but it writes to what is the same for the whole kernel (fs.nr_open, for one), and its
# tmpfiles empty /tmp. So the former is read-only, and the latter is its own. CRIU has to write to parts of
# /proc/sys/kernel, those that belong to a namespace.
become_process_1() {
        set -e
        stage=$1
        tree=$2
        shared=$3
        mount --make-rprivate /
        mkdir "$stage/bed"
        mount -t tmpfs -o mode=755 tmpfs "$stage/bed"
        mkdir "$stage/bed/upper" "$stage/bed/work" "$stage/bed/root"
        mount -t overlay -o "lowerdir=$tree,upperdir=$stage/bed/upper,workdir=$stage/bed/work" overlay "$stage/bed/root"
        root=$stage/bed/root
        tar -C "$root" --keep-directory-symlink -xf "$stage/over.tar"
        tar -C "$root" --keep-directory-symlink -xf "$stage/install.tar"

        if [ -n "$shared" ]; then
                mkdir "$root/shared"
                mount --bind "$shared" "$root/shared"
        fi

        hierarchies >"$stage/bed/hierarchies"
        mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
        for name in fs vm dev kernel/core_pattern kernel/modprobe kernel/printk kernel/panic; do
                [ -e "$root/proc/sys/$name" ] || continue
                mount --bind "$root/proc/sys/$name" "$root/proc/sys/$name"
                mount -o remount,bind,ro,nosuid,nodev,noexec "$root/proc/sys/$name"
        done
        mount -t sysfs -o nosuid,nodev,noexec sysfs "$root/sys"
        mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
        for name in null zero full random urandom tty fuse; do
                [ -c "/dev/$name" ] || continue
                : >"$root/dev/$name"
                mount --bind "/dev/$name" "$root/dev/$name"
        done
        mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue"
        mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5,nosuid,noexec devpts "$root/dev/pts"
        ln -s pts/ptmx "$root/dev/ptmx"
        ln -s /proc/self/fd "$root/dev/fd"
        for name in 0:stdin 1:stdout 2:stderr; do
                ln -s "fd/${name%:*}" "$root/dev/${name#*:}"
        done
        mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
        mount -t mqueue mqueue "$root/dev/mqueue"
        mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$root/run"
        mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"

        # Mounted anew, in a cgroup namespace, a hierarchy shows this bed's part alone.
        legacy=
        if grep -q '^-' "$stage/bed/hierarchies"; then
                mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
        else
                legacy=systemd.legacy_systemd_cgroup_controller=yes
                mount -t tmpfs -o mode=755,nosuid,nodev,noexec tmpfs "$root/sys/fs/cgroup"
                while read -r name dir; do
                        mkdir "$root/sys/fs/cgroup/${dir##*/}"
                        case $name in
                        name=*) name=none,$name ;;
                        esac
                        mount -t cgroup -o "nosuid,nodev,noexec,$name" cgroup "$root/sys/fs/cgroup/${dir##*/}"
                done <"$stage/bed/hierarchies"
        fi

        hostname bed
        "$root/bin/busybox" ip link set lo up
        mkdir "$root/run/old"
        cd "$root"
        pivot_root . run/old
        cd /
        umount -l /run/old
        rmdir /run/old
        exec env -i container=monoshim-bed PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
                /lib/systemd/systemd SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 systemd.show_status=0 $legacy </dev/null
}

case $0 in
*/bed-systemd.sh) become_process_1 "$@" ;;
esac
