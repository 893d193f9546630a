# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Sourced by "bed": a machine that is a process, User Mode Linux. Its root directory is an overlay of the tree, seen through
# hostfs, and a tmpfs; so there is no disk image to be made.

bed_prepare() {
        uml=$("$here/tree" uml) || exit
        overlay=$(find "$uml/usr/lib/uml/modules" -name overlay.ko)
        [ -n "$overlay" ] || die "User Mode Linux has no overlayfs"
}

bed_clean_up() {
        :
}

# The command is a unit, after which the machine is switched off. It talks to us through files: what it prints, and the
# exit status, which comes last.
bed_furnish() {
        mkdir -p "$stage/host" "$stage/over/bed/host" "$stage/over/etc/systemd/system/multi-user.target.wants"
        : >"$stage/host/output"
        : >"$stage/host/errors"
        {
                echo 'cd /monoshim; : >/bed/host/started'
                for word; do
                        printf "'%s' " "$(printf '%s\n' "$word" | sed "s/'/'\\\\''/g")"
                done
                echo '</dev/null >/bed/host/output 2>/bed/host/errors; echo $? >/bed/host/status; sync'
        } >"$stage/over/bed/run"
        cat >"$stage/over/etc/systemd/system/bed.service" <<'END'
[Unit]
Description=What this machine is for
After=multi-user.target dbus.service
Wants=dbus.service
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
ExecStart=/bin/sh /bed/run
Delegate=yes
TimeoutStartSec=infinity
END
        ln -s ../bed.service "$stage/over/etc/systemd/system/multi-user.target.wants/bed.service"
}

# The first program of the new kernel makes the root directory, and becomes systemd.
make_initrd() {
        mkdir -p "$stage/initrd/bin" "$stage/initrd/dev" "$stage/initrd/proc" "$stage/initrd/lower" "$stage/initrd/stage" \
                "$stage/initrd/upper" "$stage/initrd/root"
        cp "$tree/bin/busybox" "$stage/initrd/bin/"
        cp "$overlay" "$stage/initrd/"
        cat >"$stage/initrd/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
insmod /overlay.ko
mount -t hostfs -o /mnt/lower none /lower
mount -t hostfs -o /mnt/stage none /stage
mount -t tmpfs -o mode=755 upper /upper
mkdir /upper/upper /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/upper,workdir=/upper/work root /root
mount --move /stage /root/mnt
for archive in over install; do
        chroot /root tar -C / --keep-directory-symlink -xf "/mnt/$archive.tar"
done
mount --move /root/mnt /stage
mount -t hostfs -o /mnt/stage/host none /root/bed/host
umount /stage
mount --move /dev /root/dev
umount /proc
exec switch_root /root /lib/systemd/systemd
END
        chmod 755 "$stage/initrd/init"
        (cd "$stage/initrd" && find . | "$tree/bin/busybox" cpio -o -H newc 2>/dev/null) >"$stage/initrd.cpio" &&
                rm -rf "$stage/initrd"
}

bed_run() {
        make_initrd || die "the initial file system cannot be made"

        # The program needs a newer C library than this machine may have, so it runs in the tree, in mount and pid
        # namespaces of its own. The kernel's memory is a file in /tmp, which has to be a tmpfs.
        setpriv --pdeathsig KILL setsid unshare --mount --pid --fork --kill-child=KILL --ipc --net sh -c '
                set -e
                stage=$1 tree=$2 uml=$3
                mount --make-rprivate /
                mount -t tmpfs -o mode=755 tmpfs "$tree/mnt"
                mkdir "$tree/mnt/lower" "$tree/mnt/stage" "$tree/mnt/uml"
                mount --bind "$tree" "$tree/mnt/lower"
                mount -o remount,bind,ro "$tree/mnt/lower"
                mount --bind "$stage" "$tree/mnt/stage"
                mount --bind "$uml" "$tree/mnt/uml"
                mount -t proc proc "$tree/proc"
                mount -t tmpfs -o mode=1777 tmpfs "$tree/tmp"
                mount -t tmpfs -o mode=755 tmpfs "$tree/dev"
                mkdir "$tree/dev/shm"
                mount -t tmpfs -o mode=1777 tmpfs "$tree/dev/shm"
                for name in null zero random urandom; do
                        : >"$tree/dev/$name"
                        mount --bind "/dev/$name" "$tree/dev/$name"
                done
                exec chroot "$tree" env -i TMPDIR=/tmp HOME=/tmp PATH=/usr/sbin:/usr/bin /mnt/uml/usr/bin/linux.uml \
                        mem=2G initrd=/mnt/stage/initrd.cpio con=null con0=null,fd:1 ssl=null seccomp=auto uml_dir=/tmp \
                        umid=bed loglevel=4 quiet mitigations=off systemd.show_status=0
        ' sh "$stage" "$tree" "$uml" </dev/null >"$stage/log" 2>&1 &
        leader=$!

        tail -n +1 -s 0.1 -f --pid="$leader" "$stage/host/output" &
        tails=$!
        tail -n +1 -s 0.1 -f --pid="$leader" "$stage/host/errors" >&2 &
        tails="$tails $!"

        tries=0
        while [ ! -e "$stage/host/started" ] && kill -0 "$leader" 2>/dev/null; do
                tries=$((tries + 1))
                [ $tries -lt 1200 ] || break
                sleep 0.1
        done
        if [ ! -e "$stage/host/started" ]; then
                kill $tails 2>/dev/null
                tail -n 40 "$stage/log" >&2
                die "the bed does not come up"
        fi
        wait "$leader"
        leader=
        wait $tails

        status=$(cat "$stage/host/status" 2>/dev/null)
        if [ -z "$status" ]; then
                tail -n 40 "$stage/log" >&2
                die "the bed has died before the command was over"
        fi
}
