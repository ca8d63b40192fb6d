#!/bin/sh
# Take a base backup of the primary for the newest chain of the WAL archive, and delete the WAL that no base backup needs any more.
set -eu
# shellcheck source=components/backups/scripts/lib.sh
. "${0%/*}/lib.sh"
# shellcheck source=components/backups/scripts/wal-lib.sh
. "${0%/*}/wal-lib.sh"
unpacked=/scratch/read-back

# A base backup that is begun tells its size, before any file; nothing else tells it to a role that connects to no database.
# The second line is the only tablespace. https://www.postgresql.org/docs/15/protocol-replication.html
total_kib() {
	patience=600 ask "$primary" "BASE_BACKUP (PROGRESS, CHECKPOINT 'fast', MANIFEST 'no')" 2>/dev/null |
		head -c 4096 | tr -d '\0' | head -n 2 | sed -n '2s/^||\([0-9]*\)$/\1/p'
}

# shellcheck disable=SC2329 # called by lib.sh
read_back() {
	unpack "$1" "$unpacked" && read_manifest "$1" && [ -s "$1/chain" ] && [ -s "$1/ended" ] || return 1
	rm -rf "$unpacked"
}

# The WAL that the backup needs has to be in its chain, from its beginning to its end, before it counts.
await_wal() {
	read_manifest "$partial" || fail 1 "the backup has no manifest"
	needed=$(bytes_of "$to_lsn")
	tries=0
	while :; do
		[ "$(newest_chain)" = "$chain" ] || fail 1 "the archive has begun another chain during the backup. Fix: the job tries again"
		reached=0
		[ ! -f "$wal/$chain/reached" ] || read -r _ reached _ <"$wal/$chain/reached"
		[ "$reached" -lt "$needed" ] || break
		tries=$((tries + 1))
		[ "$tries" -lt "${TRIES:-300}" ] || fail 1 "the archive has not reached $to_lsn, the end of the backup. Fix: see the log of postgres-archive"
		sleep 1
	done
	parse_segment "00000001$(segments "$wal/$chain" | cut -c 9- | sort | head -n 1)"
	[ $((segment_number * segment_bytes)) -le "$(bytes_of "$from_lsn")" ] ||
		fail 1 "the backup begins at $from_lsn, before the archive. Fix: the job tries again"
}

# Only ever called when a newer set is there: WAL before the oldest base backup of its chain, chains without one, and what was put
# aside before the oldest of all. What is being deleted has lost its name first, and `begin` ends what was cut short.
prune_wal() {
	newest=$(newest_chain)
	for each_chain in $(chains); do
		oldest=$(sets_of "$each_chain" | head -n 1)
		if [ -n "$oldest" ]; then
			read_manifest "$backups/$oldest" || continue
			keep_from=$(($(bytes_of "$from_lsn") / segment_bytes))
			for file in "$wal/$each_chain"/????????????????????????; do
				[ -f "$file" ] || continue
				parse_segment "${file##*/}"
				[ "$segment_number" -ge "$keep_from" ] || rm "$file"
			done
		elif [ "$each_chain" != "$newest" ]; then
			mv "$wal/$each_chain" "$backups/.pruned.$each_chain"
			rm -rf "$backups/.pruned.$each_chain"
			say "removed the WAL of $each_chain: no base backup goes with it"
		fi
	done
	oldest=$(sets | head -n 1)
	for aside in "$wal"/aside-*; do
		[ -d "$aside" ] || continue
		[ "$(printf '%s\n%s\n' "${aside##*/aside-}" "$oldest" | sort | head -n 1)" = "$oldest" ] || rm -rf "$aside"
	done
}

begin
find_primary || fail 1 "none of $HOSTS is a primary that lets gx_archive in. Fix: see whether the primary runs"
chain=$(newest_chain)
[ -n "$chain" ] || fail 1 "nothing is archived yet. Fix: see the log of postgres-archive"
total=$(total_kib)
[ -n "$total" ] || fail 1 "$primary does not let gx_archive take a base backup. Fix: see its log"
reserve $((total * 1024))
free=$(free_kib /scratch)
[ "$free" -gt "$total" ] || fail 4 "/scratch has $free KiB free, and to read the backup back needs $total. Fix: free the node's disk"

pg_basebackup --dbname="host=$primary application_name=base_backup $CONNECTION" --no-password --pgdata="$partial" \
	--format=tar --gzip --compress=1 --wal-method=stream --checkpoint=fast --manifest-checksums=SHA256 --label="$name" ||
	fail 1 "the primary was lost during the backup. Fix: look at its log; the job tries again"
# The first whole second after it.
echo $(($(date +%s) + 1)) >"$partial/ended"
echo "$chain" >"$partial/chain"
await_wal
finish
prune_wal
