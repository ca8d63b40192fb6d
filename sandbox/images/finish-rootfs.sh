#!/bin/sh
# Turn a freshly installed Debian root file system into one that looks like the images the stack files name: their users and
# ids, their paths, BusyBox as the shell and tools as in Alpine, and nothing of Debian's package management.
# Usage: finish-rootfs.sh <root directory>
set -eu
root=$(realpath "$1")
if [ "$root" = / ] || [ ! -x "$root/bin/busybox" ]; then
	echo "finish-rootfs.sh: '$1' is not a root file system with BusyBox. Pass the directory mmdebstrap has filled" >&2
	exit 2
fi

# --- users: the ids of postgres:15-alpine, redis:7-alpine and haproxy:2.6-alpine
cat >"$root/etc/passwd" <<'PASSWD'
root:x:0:0:root:/root:/bin/sh
postgres:x:70:70:PostgreSQL:/var/lib/postgresql:/bin/sh
haproxy:x:99:99:HAProxy:/var/lib/haproxy:/bin/false
redis:x:999:1000:Redis:/home/redis:/bin/false
nobody:x:65534:65534:nobody:/:/bin/false
PASSWD
cat >"$root/etc/group" <<'GROUP'
root:x:0:
tty:x:5:
postgres:x:70:
haproxy:x:99:
redis:x:1000:
nogroup:x:65534:
GROUP
rm -f "$root"/etc/passwd- "$root"/etc/group- "$root"/etc/shadow* "$root"/etc/gshadow* "$root"/etc/subuid* "$root"/etc/subgid*

# --- directories
rm -rf "$root/var/lib/postgresql" "$root/var/lib/redis" "$root/var/lib/haproxy"
install -d -o 70 -g 70 -m 1777 "$root/var/lib/postgresql/data"
install -d -o 70 -g 70 -m 3777 "$root/run/postgresql"
install -d -o 999 -g 1000 "$root/data" "$root/home/redis"
install -d -o 99 -g 99 "$root/var/lib/haproxy"
install -d "$root/usr/local/etc/haproxy" "$root/docker-entrypoint-initdb.d"
install -d -o 65534 -g 65534 "$root/prometheus" "$root/alertmanager"

# --- programs where those images have them; Debian's own /usr/bin/psql and the like are Perl wrappers
for program in "$root"/usr/lib/postgresql/15/bin/*; do
	name=${program##*/}
	rm -f "$root/usr/bin/$name"
	ln -s "/usr/lib/postgresql/15/bin/$name" "$root/usr/local/bin/$name"
done
for name in redis-server redis-cli redis-benchmark redis-check-aof redis-check-rdb; do
	ln -s "/usr/bin/$name" "$root/usr/local/bin/$name"
done
ln -s /usr/bin/redis-server "$root/usr/local/bin/redis-sentinel"
ln -s /usr/sbin/haproxy "$root/usr/local/sbin/haproxy"
mv "$root/usr/bin/prometheus-alertmanager" "$root/usr/bin/alertmanager"
# As in docker-library: reachable from other pods without a setting.
sed -i "s/^#listen_addresses = 'localhost'/listen_addresses = '*'/" "$root/usr/share/postgresql/15/postgresql.conf.sample"

# --- what no container needs
rm -rf "$root"/etc/apt "$root"/etc/cron* "$root"/etc/dpkg "$root"/etc/init.d "$root"/etc/machine-id \
	"$root"/etc/postgresql* "$root"/etc/prometheus "$root"/etc/redis "$root"/etc/systemd "$root"/lib/systemd \
	"$root"/lib/udev "$root"/usr/bin/*perl* "$root"/usr/bin/promtool "$root"/usr/bin/amtool "$root"/usr/share/fonts \
	"$root"/usr/share/javascript "$root"/usr/share/nodejs "$root"/usr/lib/apt \
	"$root"/usr/lib/dpkg "$root"/usr/lib/postgresql/15/lib/bitcode "$root"/usr/lib/postgresql/15/lib/llvmjit* \
	"$root"/usr/lib/x86_64-linux-gnu/*LLVM* "$root"/usr/lib/x86_64-linux-gnu/libapt* \
	"$root"/usr/lib/x86_64-linux-gnu/libperl* "$root"/usr/lib/x86_64-linux-gnu/libz3* \
	"$root"/usr/lib/x86_64-linux-gnu/perl* "$root"/usr/share/doc "$root"/usr/share/i18n "$root"/usr/share/info \
	"$root"/usr/share/locale "$root"/usr/share/man "$root"/usr/share/perl* "$root"/usr/share/postgresql-common \
	"$root"/var/cache "$root"/var/lib/apt "$root"/var/lib/dpkg "$root"/var/log
install -d "$root/var/cache" "$root/var/log"

# --- what differs between two builds: this machine's name and resolver, and a key pair made by a package
rm -rf "$root"/etc/hostname "$root"/etc/resolv.conf "$root"/etc/ssl/private "$root"/etc/ssl/certs/*

# --- BusyBox in place of the GNU tools. Last: the steps above use none of the files it replaces.
for applet in $("$root/bin/busybox" --list); do
	case $applet in
	busybox | dpkg | dpkg-deb | init | rpm) ;;
	*)
		if [ -e "$root/usr/sbin/$applet" ] || [ -L "$root/usr/sbin/$applet" ]; then
			ln -sf /bin/busybox "$root/usr/sbin/$applet"
		else
			ln -sf /bin/busybox "$root/usr/bin/$applet"
		fi
		;;
	esac
done
