#!/bin/sh
# Gives a node its own disk: run once as root inside a node's fresh mount namespace, whose root is still the host's.
#   node-mounts.sh <disk directory> <node name> <made-up hardware directory> <directory to keep visible>...
# The kubelet's own path must be shared, or mounts it makes for a pod would not reach the pod's container.
set -eu

disk=$1 name=$2 hardware=$3
shift 3

hostname "$name"
mount --make-rshared /

# Host files a node may read and change without the host noticing.
for path in /etc /usr/local /var/log /var/www /var/lib/nginx; do
	mkdir -p "$path"
	layer="$disk/overlay$path"
	mkdir -p "$layer/upper" "$layer/work"
	mount -t overlay overlay -o "lowerdir=$path,upperdir=$layer/upper,workdir=$layer/work" "$path"
done

# What a node has for itself alone. Checkouts and caches often live in a home directory, so they are carried over.
kept="$disk/kept"
number=0
for path in "$@"; do
	number=$((number + 1))
	mkdir -p "$kept/$number"
	mount --rbind "$path" "$kept/$number"
done
for path in /root /home /var/lib/kubelet /var/lib/containerd /var/lib/cni /var/lib/rancher /var/lib/letsencrypt /var/backups; do
	mkdir -p "$path" "$disk$path"
	mount --bind "$disk$path" "$path"
done
chmod 0700 /root
number=0
for path in "$@"; do
	number=$((number + 1))
	mkdir -p "$path"
	mount --rbind "$kept/$number" "$path"
done

mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/lock
mount -t tmpfs -o mode=1777 tmpfs /tmp

# The processors and memory of the real node, as kubelet and the scheduler read them.
mount --bind "$hardware/meminfo" /proc/meminfo
mount --bind "$hardware/cpu" /sys/devices/system/cpu
mount --bind "$hardware/node" /sys/devices/system/node
