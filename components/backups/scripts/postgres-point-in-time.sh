#!/bin/sh
# Restore the database or one table as it was at a second, AT=20261126T040000Z: with every commit before it and none from it on.
#
# A server of this pod's own replays the archived WAL on a base backup up to that second, and is dumped; from there on it is
# postgres-restore.sh, with its words and refusals. Without EXECUTE=yes everything is done but the change of the live database.
set -eu
# shellcheck source=components/backups/scripts/lib.sh
. "${0%/*}/lib.sh"
# shellcheck source=components/backups/scripts/wal-lib.sh
. "${0%/*}/wal-lib.sh"
# shellcheck source=components/backups/scripts/postgres-lib.sh
. "${0%/*}/postgres-lib.sh"
data=/scratch/pgdata
frozen=/scratch/wal

# shellcheck disable=SC2329 # called by the trap
end_server() {
	[ ! -f "$data/postmaster.pid" ] || pg_ctl --silent --pgdata="$data" --mode=immediate stop || :
}
trap end_server EXIT
trap 'exit 143' TERM INT

utc() {
	date -u -d "@$1" '+%F %T+00:00'
}

# Sets base to the newest base backup from which the second can be reached, and chain, reached_at and reached_to.
choose_base() {
	wanted=$(timestamp "$AT")
	base='' ranges=''
	for each_chain in $(chains); do
		[ -f "$wal/$each_chain/reached" ] || continue
		read -r until position _ <"$wal/$each_chain/reached"
		earliest=''
		for set in $(sets_of "$each_chain"); do
			read -r since <"$backups/$set/ended"
			earliest=${earliest:-$since}
			[ "$since" -le "$wanted" ] && [ "$wanted" -le "$until" ] || continue
			base=$set chain=$each_chain reached_at=$until reached_to=$position
		done
		[ -z "$earliest" ] || [ "$earliest" -gt "$until" ] || ranges="$ranges${ranges:+, or }from $(utc "$earliest") to $(utc "$until")"
	done
	[ -n "$base" ] || fail 2 "$(utc "$wanted") cannot be reached. Fix: a second ${ranges:-later: the archive has not come to the end of a base backup yet}"
}

# Take the WAL as it is now: it grows, and the last segment is being written. Only the newest timeline may have a segment that
# is not whole: where an older one ends, the newer one has all of it.
freeze_wal() {
	rm -rf "$frozen"
	mkdir "$frozen"
	parse_segment "$(segments "$wal/$chain" | tail -n 1)"
	newest_timeline=$segment_timeline
	for file in "$wal/$chain/$(printf %08X "$newest_timeline")"????????????????.partial; do
		[ ! -f "$file" ] || cp "$file" "$frozen/$(basename "$file" .partial)" || [ ! -f "$file" ]
	done
	for file in "$wal/$chain"/????????????????????????; do
		[ ! -f "$file" ] || ln -sf "$file" "$frozen/"
	done
	for file in "$wal/$chain"/????????.history; do
		[ -f "$file" ] || continue
		its=${file##*/}
		[ $((0x${its%.history})) -gt "$newest_timeline" ] || ln -s "$file" "$frozen/"
	done
}

# From the beginning of the base backup to what the archive has confirmed.
refuse_gaps() {
	read_manifest "$backups/$base"
	expected=$(($(bytes_of "$from_lsn") / segment_bytes))
	for number in $(segments "$frozen" | cut -c 9- | sort -u); do
		parse_segment "00000001$number"
		[ "$segment_number" -ge "$expected" ] || continue
		[ "$segment_number" -eq "$expected" ] || break
		expected=$((expected + 1))
	done
	[ $((expected * segment_bytes)) -ge "$reached_to" ] ||
		fail 1 "segment $(printf '%08X%08X' $((expected / 256)) $((expected % 256))) is missing in $chain. Fix: a second before it, from an older base backup, or a backup of the schedule"
}

recover() {
	pg_ctl --silent --no-wait --pgdata="$data" --log=/scratch/server.log start >/dev/null
	# A server that has not written its file yet has not failed yet.
	tries=0
	until pg_isready --quiet --host=/scratch; do
		tries=$((tries + 1))
		[ "$tries" -lt 5 ] || pg_ctl --pgdata="$data" status >/dev/null 2>&1 || return 1
		sleep 1
	done
}

# What stopped a recovery, in its own words.
reason() {
	grep -E 'FATAL|PANIC' /scratch/server.log | tail -n 1
}

choose_base
say "base backup $base, and WAL up to $(utc "$reached_at")"
# Verified by reading it whole, and left unpacked.
read_back() {
	unpack "$1" "$data"
}
verify "$backups/$base"
freeze_wal
refuse_gaps
scratch_settings "$data" "$ADMIN"
# Not this server's own, which it would obey before its file.
: >"$data/postgresql.auto.conf"
cat >>"$data/postgresql.conf" <<-CONF
	lc_messages = 'C'
	log_timezone = 'UTC'
	hot_standby = off
	restore_command = 'cp $frozen/%f %p'
	recovery_target_timeline = latest
	recovery_target_action = promote
	recovery_target_inclusive = off
	recovery_target_time = '$(utc "$wanted")'
CONF
touch "$data/recovery.signal"
if ! recover; then
	grep -q 'recovery ended before configured recovery target was reached' /scratch/server.log ||
		fail 1 "$base could not be recovered: $(reason)"
	# Nothing was committed from that second on, as far as the archive goes: then all of it is wanted, and it must be all of it.
	sed -i '/^recovery_target_time/d' "$data/postgresql.conf"
	recover || fail 1 "$base could not be recovered: $(reason)"
	ended=$(tail -n 1 "$(for file in "$data"/pg_wal/????????.history; do echo "$file"; done | tail -n 1)" | cut -f 2)
	[ "$(bytes_of "$ended")" -ge "$reached_to" ] ||
		fail 1 "the WAL can be read up to $ended only, and the archive has more: what follows is damaged. Fix: a second before it"
fi
say "recovered: $(sed -n 's/.*LOG:  \(last completed transaction was .*\)/\1/p' /scratch/server.log | tail -n 1)"

set_directory=/scratch/sets/$AT
mkdir -p "$set_directory"
(
	export PGHOST=/scratch PGUSER="$ADMIN"
	dump_into "$set_directory"
)
(cd "$set_directory" && sha256sum ./* >.sums && mv .sums SHA256SUMS)
end_server
rm -rf "$data"
trap - EXIT
export BACKUPS=/scratch/sets BACKUP="$AT"
exec sh "${0%/*}/postgres-restore.sh"
