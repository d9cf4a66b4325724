#!/bin/sh
# systemd.sh FOLDER CGROUP runs systemd as process 1 of namespaces of its own,
# on a copy of this machine's files: what it writes is in memory, and is gone
# with it. FOLDER/add holds more files, CGROUP is an empty control group.
set -eu
folder=$1 cgroup=$2
if [ "${3:-}" != inside ]; then
	echo $$ >"$cgroup/cgroup.procs"
	exec unshare --pid --fork --kill-child --mount --uts --ipc --cgroup -- "$0" "$folder" "$cgroup" inside
fi

mkdir "$folder/mem"
mount -t tmpfs tmpfs "$folder/mem"
root=$folder/mem/root
mkdir "$folder/mem/upper" "$folder/mem/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/mem/upper,workdir=$folder/mem/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for d in null zero full random urandom tty; do cp -a "/dev/$d" "$root/dev/"; done
mkdir "$root/dev/shm" "$root/dev/mqueue" "$root/dev/hugepages" "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /run/systemd/journal/dev-log "$root/dev/log"
: >"$folder/console"
: >"$root/dev/console"
mount --bind "$folder/console" "$root/dev/console"

# Nothing of this machine starts, only what is asked for.
rm -rf "$root"/lib/systemd/system/*.wants "$root"/etc/systemd/system/*.wants
cp -R "$folder/add/." "$root/"
printf '[Unit]\nDescription=nothing\nDefaultDependencies=no\n' >"$root/etc/systemd/system/nothing.target"

mkdir -p "$root/old"
cd "$root"
pivot_root . old
umount -l old
mount --make-rshared /
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --system --unit=nothing.target --show-status=0 --log-target=console --log-level=warning
