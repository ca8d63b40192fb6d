#!/bin/sh
# Receive the write-ahead log of whichever instance is the primary, for ever, and see to it that what is archived has no gap.
#
# It confirms nothing to a commit: its application_name stands in no synchronous_standby_names. What it has received is on the
# disk when the slot's position says so, and the primary keeps what is beyond that, up to max_slot_wal_keep_size.
#
# After a failover the archive may have WAL that the new primary's history does not: that is put aside. When the WAL that comes
# next is gone, or the history is another one, a new chain begins, and a base backup for it at once.
set -eu
# shellcheck source=components/backups/scripts/lib.sh
. "${0%/*}/lib.sh"
# shellcheck source=components/backups/scripts/wal-lib.sh
. "${0%/*}/wal-lib.sh"
# A clock that differs from the primary's, and commits between their timestamp and the disk.
margin_seconds=5
# A base backup that failed is tried again after this.
retry_seconds=${RETRY_SECONDS:-600}
heard=/scratch/receiver

umask 077
mkdir -p "$wal"
exec 8>"$backups/.wal.lock"
flock -n 8 || fail 3 "another archive uses this volume. Fix: wait until its pod has ended"
receiver='' base='' tried=0 lag=0
# Parts of a look that may be asked for before the first one.
primary='' flushed=0 confirmed=0

stop() {
	[ -z "$receiver" ] || kill -INT "$receiver" 2>/dev/null || :
	[ -z "$receiver" ] || wait "$receiver" || :
	receiver=''
}
trap 'stop; exit 143' TERM INT

# A signal ends it.
pause() {
	sleep "${LOOK_SECONDS:-10}" &
	wait $! || :
	touch /scratch/alive
}

# Usage: begin_chain REASON
begin_chain() {
	stop
	[ -z "$chain" ] || say "a gap: $1. Restores end at $chain's last second and begin again with the next base backup"
	while [ "$(date -u +%Y%m%dT%H%M%SZ)" = "$chain" ]; do sleep 1; done
	chain=$(date -u +%Y%m%dT%H%M%SZ)
	rm -rf "$wal"/.new
	mkdir "$wal/.new"
	echo "$system" >"$wal/.new/system"
	mv "$wal/.new" "$wal/$chain"
	tried=0
	# It would have the receiver begin where its old place was.
	receive_wal --drop-slot 2>/dev/null || :
	say "chain $chain begins: $1"
}

# Usage: receive_wal OPTIONS...
receive_wal() {
	${run:-} pg_receivewal --dbname="host=$primary application_name=$slot $CONNECTION" --no-password --slot="$slot" "$@"
}

# Make the newest chain one that the primary's WAL goes on with, or begin another. Sets chain, and fork: where the primary's
# history begins to be another timeline, if what is archived ends exactly there.
join_history() {
	chain=$(newest_chain)
	fork=''
	if [ -z "$chain" ]; then
		begin_chain "there is no archive yet"
		return
	fi
	if [ "$(cat "$wal/$chain/system")" != "$system" ]; then
		begin_chain "$primary is of another system"
		return
	fi
	history=''
	[ "$timeline" -eq 1 ] || history=$(ask "$primary" "TIMELINE_HISTORY $timeline" | forks)
	[ "$timeline" -eq 1 ] || [ -n "$history" ] || return 1
	known=$wal/$chain/$(printf %08X "$timeline").history
	if [ -f "$known" ] && [ "$(forks <"$known")" != "$history" ]; then
		begin_chain "timeline $timeline of $primary is another one than the archived"
		return
	fi
	of=0 kept='' moved=''
	for file in "$wal/$chain"/[0-9A-F]*; do
		[ -f "$file" ] || continue
		file=${file##*/}
		case $file in
		????????.history)
			its=$((0x${file%.history}))
			[ "$its" -eq "$timeline" ] || echo "$history" | grep -q "^$its " || put_aside "$file"
			continue
			;;
		????????????????????????) whole=yes ;;
		????????????????????????.partial) whole='' ;;
		*) continue ;;
		esac
		parse_segment "$file"
		ends=$(((segment_number + 1) * segment_bytes))
		if [ "$segment_timeline" -eq "$timeline" ]; then
			[ -z "$whole" ] || [ "$ends" -le "$flushed" ] || {
				begin_chain "$primary is behind the archive on timeline $timeline"
				return
			}
			kept=yes fork=''
			continue
		fi
		if [ "$segment_timeline" -ne "$of" ]; then
			of=$segment_timeline
			left=$(echo "$history" | sed -n "s/^$of //p")
			left=$(bytes_of "${left:-0/0}")
		fi
		if [ "$ends" -le "$left" ]; then
			kept=yes fork=''
			[ -z "$whole" ] || [ "$ends" -ne "$left" ] || fork=$ends
		else
			put_aside "$file"
			moved=yes
		fi
	done
	# The receiver goes on from what is there, and with nothing from anywhere.
	[ -n "$kept" ] || [ -z "$moved" ] || begin_chain "the history of $primary has nothing of what is archived"
}

# Keep a file that is not of the primary's history, out of the way of restores: it may hold commits that a failover lost.
put_aside() {
	aside=$wal/aside-$(date -u +%Y%m%dT%H%M%SZ)
	mkdir -p "$aside"
	mv "$wal/$chain/$1" "$aside"
	say "put aside: $1, which is not of the history of timeline $timeline"
}

# The receiver fills a new segment with zeros before it writes to it, and refuses one whose filling was cut short.
remove_unfilled() {
	for file in "$wal/$chain"/*.partial; do
		[ -f "$file" ] && [ "$(wc -c <"$file")" -ne "$segment_bytes" ] || continue
		rm "$file"
		say "removed: ${file##*/}, which was being made when the archive ended and has nothing yet"
	done
}

# The receiver asks for what follows its newest segment on that segment's timeline. Where that timeline has ended, to the byte, the
# server has nothing of it to send, and the receiver gives up. An empty segment of the next timeline tells it where to go on.
cross_fork() {
	on=$(echo "$history" | while read -r its position; do
		[ "$(bytes_of "$position")" -le "$fork" ] || { echo "$its" && break; }
	done)
	number=$((fork / segment_bytes))
	: >"$wal/$chain/$(printf '%08X%08X%08X' "${on:-$timeline}" $((number / 256)) $((number % 256))).partial"
}

begin_receiving() {
	remove_unfilled
	[ -z "$fork" ] || cross_fork
	following="$primary $timeline"
	receive_wal --create-slot --if-not-exists 2>"$heard" || return 1
	say "receiving from $primary, timeline $timeline, into $chain"
	# In a shell that becomes the receiver: that of a function would be what is signalled.
	(run="exec" && receive_wal --directory="$wal/$chain" --synchronous --no-loop 2>"$heard" 8>&-) &
	receiver=$!
	asked_at=0 asked_for=0
}

# What was flushed on the primary at the last look is archived: so is every commit until then.
note_reach() {
	lag=$((flushed - confirmed))
	[ "$lag" -ge 0 ] || lag=0
	if [ "$asked_at" -gt 0 ] && [ "$confirmed" -ge "$asked_for" ]; then
		echo "$((asked_at - margin_seconds)) $asked_for $timeline" >"$wal/$chain/.reached"
		mv "$wal/$chain/.reached" "$wal/$chain/reached"
		asked_at=0
	fi
	[ "$asked_at" -gt 0 ] || asked_at=$now asked_for=$flushed
}

# The weekly job makes the others.
back_up_a_new_chain() {
	[ -z "$base" ] || kill -0 "$base" 2>/dev/null || base=''
	[ -z "$base" ] && [ -z "$(sets_of "$chain")" ] || return 0
	now=$(date +%s)
	[ $((now - tried)) -ge "$retry_seconds" ] || return 0
	tried=$now
	say "chain $chain has no base backup: taking one"
	sh "${0%/*}/postgres-base-backup.sh" 8>&- &
	base=$!
}

# The volume is a directory of the node's disk, whose size nobody enforces.
has_room() {
	used=$(size_kib "$backups")
	free=$(free_kib "$backups")
	[ "$used" -lt "$SIZE_KIB" ] && [ "$free" -gt $((4 * segment_bytes / 1024)) ] && return
	[ -z "${full:-}" ] || return 1
	full=yes
	say "stopped: the archive uses $used of $SIZE_KIB KiB, the disk has $free free. Fix: lower backups.pointInTime.keep or raise its storage"
	return 1
}

publish_state() {
	newest_base=$(sets_of "$chain" | tail -n 1)
	reached=0
	[ ! -f "$wal/$chain/reached" ] || read -r reached _ <"$wal/$chain/reached"
	{
		gauge gx_wal_archive_receiving "$1" "1 while WAL is received."
		gauge gx_wal_archive_reached_timestamp_seconds "$reached" "Newest second that a restore can reach; 0 without one."
		gauge gx_wal_archive_position_bytes "$confirmed" "Position up to which WAL is on the archive's disk."
		gauge gx_wal_archive_lag_bytes "$lag" "WAL that the primary has and the archive has not."
		gauge gx_wal_archive_base_timestamp_seconds "$(timestamp "$newest_base")" "Time of the newest base backup that the newest WAL goes with; 0 after a gap until there is one."
		gauge gx_wal_archive_size_bytes "$(($(size_kib "$backups") * 1024))" "Size of base backups and WAL."
	} | publish wal-archive || :
}

# Until the receiver ends, or another instance is the primary.
watch_receiver() {
	while pause && kill -0 "$receiver" 2>/dev/null; do
		now=$(date +%s)
		if find_primary; then
			[ "$primary $timeline" = "$following" ] || return 0
			note_reach
			back_up_a_new_chain
		fi
		has_room || return 0
		full=''
		publish_state 1
	done
}

told=''
while :; do
	chain=$(newest_chain)
	if ! has_room; then
		:
	elif ! find_primary; then
		[ -n "$told" ] || say "waiting: none of $HOSTS is a primary that lets gx_archive in"
		told=yes
	elif join_history && begin_receiving; then
		told=''
		watch_receiver
		stop
		cat "$heard" >&2
		if grep -q 'has already been removed' "$heard" && find_primary; then
			begin_chain "the WAL that comes next is no longer on $primary"
			continue
		fi
	else
		cat "$heard" >&2 2>/dev/null || :
	fi
	publish_state 0
	pause
done
