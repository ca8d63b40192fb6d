# shellcheck shell=sh disable=SC2034,SC2154
# What the archive of the write-ahead log, the base backups and the restores to a point in time share. Sourced, never run.
#
# Beside the base backups, which are sets, the volume has chains in wal/: a chain is the WAL of one system along one history,
# without a gap, and is named by when it began. What cannot go on with the newest chain begins another one. A base backup is of
# use with the WAL of its own chain alone, which its file `chain` names.
#
# In a chain, `system` is the system identifier, and `reached` says up to when nothing is missing: a Unix time, a position in bytes
# and its timeline. Every commit with a timestamp before that time is in the WAL before that position.
kind=postgres-base
wal=$backups/wal
slot=wal_archive
# What initdb makes, and so every instance.
segment_bytes=$((16 * 1024 * 1024))
# An instance that is gone is asked again and again.
export PGCONNECT_TIMEOUT=3

chains() {
	for each in "$wal"/[0-9]*T[0-9]*Z; do
		[ ! -d "$each" ] || echo "${each##*/}"
	done
}

newest_chain() {
	chains | tail -n 1
}

# Names of the sets that belong to a chain, oldest first. Usage: sets_of CHAIN
sets_of() {
	for each in $(sets); do
		[ "$(cat "$backups/$each/chain" 2>/dev/null)" != "$1" ] || echo "$each"
	done
}

# A position in bytes. Usage: bytes_of LSN
bytes_of() {
	echo $(((0x${1%/*} << 32) + 0x${1#*/}))
}

# Lines of a timeline's history: a timeline, and where the next one left it.
forks() {
	sed 's/^[0-9A-F]*\.history|//' | awk '$1 ~ /^[0-9]+$/ { print $1, $2 }'
}

# Names of the segments in a directory, whole or not, oldest timeline first. Usage: segments DIRECTORY
segments() {
	for each in "$1"/???????????????????????? "$1"/????????????????????????.partial; do
		[ ! -f "$each" ] || echo "${each##*/}"
	done | sort
}

# Sets segment_timeline and segment_number, which counts along all timelines. No process per file: there are thousands.
# Usage: parse_segment NAME
parse_segment() {
	parsed=${1%%.*}
	rest=${parsed#????????}
	segment_timeline=$((0x${parsed%"$rest"}))
	segment_number=$((0x${rest%????????} * 256 + 0x${rest#????????}))
}

# Sets from_lsn and to_lsn: the WAL that a base backup cannot do without. Usage: read_manifest DIRECTORY
read_manifest() {
	from_lsn=$(sed -n 's/.*"Start-LSN": "\([0-9A-F/]*\)".*/\1/p' "$1/backup_manifest" | head -n 1)
	to_lsn=$(sed -n 's/.*"End-LSN": "\([0-9A-F/]*\)".*/\1/p' "$1/backup_manifest" | tail -n 1)
	[ -n "$from_lsn" ] && [ -n "$to_lsn" ]
}

# Ask an instance in the language of replication. Usage: ask HOST COMMAND...
ask() {
	whom=$1
	shift
	for each in "$@"; do
		set -- "$@" -c "$each"
		shift
	done
	timeout "${patience:-10}" psql "host=$whom replication=true $CONNECTION" --no-psqlrc -qAt "$@"
}

# Sets primary, system, timeline, flushed (its position), and confirmed (that of the slot, 0 without one). Fails when there is
# no primary. One that was replaced and does not know it yet is on an older timeline.
find_primary() {
	primary='' timeline=0
	for host in $HOSTS; do
		answer=$(ask "$host" 'SHOW in_hot_standby' IDENTIFY_SYSTEM "READ_REPLICATION_SLOT $slot" 2>/dev/null) || continue
		# shellcheck disable=SC2046 # its columns
		set -- $(echo "$answer" | tr '|\n' '  ')
		[ "$1" = off ] && [ "$3" -gt "$timeline" ] || continue
		primary=$host system=$2 timeline=$3 flushed=$(bytes_of "$4") confirmed=0
		# The slot's columns: its kind, its position, its timeline.
		[ "${5:-}" != physical ] || [ -z "${7:-}" ] || confirmed=$(bytes_of "$6")
	done
	[ -n "$primary" ]
}

# Unpack a base backup and compare every file with its manifest, and its WAL too. Usage: unpack SET DIRECTORY
unpack() {
	needed=$(($(sed -n 's/.*"Size": \([0-9]*\),.*/\1/p' "$1/backup_manifest" | awk '{ sum += $1 } END { printf "%.0f", sum / 1024 }')))
	free=$(free_kib /scratch)
	[ "$free" -gt "$needed" ] || fail 4 "/scratch has $free KiB free and ${1##*/} unpacks to $needed. Fix: free the node's disk"
	rm -rf "$2"
	mkdir -m 0700 "$2"
	tar -xzf "$1/base.tar.gz" -C "$2" && tar -xzf "$1/pg_wal.tar.gz" -C "$2/pg_wal" &&
		pg_verifybackup --quiet --manifest-path="$1/backup_manifest" "$2"
}
