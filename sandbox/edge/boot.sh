#!/bin/sh
# Boots a node as a host: run as root inside the node, in a mount namespace of its own, each time the node comes up. Ends by
# becoming sshd.
#   boot.sh <directory for the host's files> <directory with the host's SSH keys> <operator's public key file>
set -eu

disk=$1 host_keys=$2 operator_key=$3
first_boot=/etc/.first-boot-done

if ! mountpoint -q /etc || ! mountpoint -q /root; then
	echo "boot: refused: this is not inside a node, its files would be the machine's own" >&2
	exit 1
fi

# Whoever administers the host may change these; neither the machine underneath nor another node may notice. Kubernetes, which
# runs outside this namespace, keeps its own view of /var/lib.
# By way of /run, since the checkout may lie below one of these, and an overlay takes no other as its upper layer.
layers=/run/host-layers
mkdir -p "$layers" "$disk"
mount --bind "$disk" "$layers"
for path in /usr /var/lib /var/spool /var/cache; do
	mkdir -p "$layers$path/upper" "$layers$path/work"
	mount -t overlay overlay -o "lowerdir=$path,upperdir=$layers$path/upper,workdir=$layers$path/work" "$path"
done

mkdir -p /run/sshd /run/lock
install -d -m 0700 /root/.ssh
install -m 0600 "$operator_key" /root/.ssh/authorized_keys

if [ ! -e "$first_boot" ]; then
	# The machine underneath may serve something of its own; the host starts as Debian installs it.
	rm -rf /etc/ssh/ssh_host_* /etc/ssh/sshd_config.d/*
	rm -rf /etc/letsencrypt/*/
	cp /usr/share/openssh/sshd_config /etc/ssh/sshd_config
	install -m 0600 "$host_keys/ssh_host_ed25519_key" /etc/ssh/
	install -m 0644 "$host_keys/ssh_host_ed25519_key.pub" /etc/ssh/
	find /var/log/nginx /var/log/letsencrypt -type f -delete 2>/dev/null || true
	touch "$first_boot"
else
	# What Debian starts at boot, once somebody has used the host.
	for service in nginx cron; do
		if [ -x "/etc/init.d/$service" ]; then
			service "$service" start || echo "boot: $service did not start" >&2
		fi
	done
fi

exec /usr/sbin/sshd -D -e
