#!/bin/sh
# Gives a node its own disk: run once as root inside a node's fresh mount namespace, whose root is still the host's.
#   node-mounts.sh <disk directory> <node name> <directory to keep visible>...
set -eu

disk=$1 name=$2
shift 2

hostname "$name"

# Host files a node may read and change without the host noticing.
for path in /etc /usr/local /var/log /var/www /var/lib/nginx; do
	mkdir -p "$path"
	layer="$disk/overlay$path"
	mkdir -p "$layer/upper" "$layer/work"
	mount -t overlay overlay -o "lowerdir=$path,upperdir=$layer/upper,workdir=$layer/work" "$path"
done

# Checkouts and caches often live below a directory that is hidden next; they are carried over by way of /run.
mount -t tmpfs -o mode=0755 tmpfs /run
stage=/run/stage
mkdir -p "$stage/disk" /run/lock
mount --bind "$disk" "$stage/disk"
number=0
for path in "$@"; do
	number=$((number + 1))
	mkdir "$stage/$number"
	mount --rbind "$path" "$stage/$number"
done

# What a node has for itself alone.
for path in /root /home /tmp /var/lib/kubelet /var/lib/containerd /var/lib/cni /var/lib/rancher /var/lib/letsencrypt /var/backups; do
	mkdir -p "$path" "$stage/disk$path"
	mount --bind "$stage/disk$path" "$path"
done
chmod 0700 /root
chmod 1777 /tmp

# The processors and memory of the real node, as kubelet and the scheduler read them.
mount --bind "$stage/disk/hardware/meminfo" /proc/meminfo
mount --bind "$stage/disk/hardware/node" /sys/devices/system/node

# crun refuses a machine that has both versions of cgroups in view; the controllers are in the first.
if mountpoint -q /sys/fs/cgroup/unified; then
	umount -l /sys/fs/cgroup/unified
fi

number=0
for path in "$@"; do
	number=$((number + 1))
	mkdir -p "$path"
	mount --rbind "$stage/$number" "$path"
	umount -l "$stage/$number"
done
umount -l "$stage/disk"

# Shared, or mounts the kubelet makes for a pod would not reach the pod's container; last, or the binds above would mirror
# each other.
mount --make-rshared /
