#!/bin/sh
# Boots a node as a host: run as root inside the node each time it comes up; ends by becoming sshd.
#   boot.sh <directory with the host's SSH keys> <operator's public key file>
set -eu

host_keys=$1 operator_key=$2
first_boot=/etc/.first-boot-done

if ! mountpoint -q /etc || ! mountpoint -q /root; then
	echo "boot: refused: this is not inside a node, its files would be the machine's own" >&2
	exit 1
fi

mkdir -p -m 0755 /run/sshd /run/lock
mkdir -p -m 0700 /root/.ssh
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
		if ls "/etc/rc2.d/"S*"$service" >/dev/null 2>&1; then
			service "$service" start || echo "boot: $service did not start" >&2
		fi
	done
fi

exec /usr/sbin/sshd -D -e
