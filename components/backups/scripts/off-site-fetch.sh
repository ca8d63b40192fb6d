#!/bin/sh
# Bring a backup back from the object store into the volume, where it counts once it has its checksums. BACKUP=name. With a base
# backup comes the WAL of its chain, from its beginning up to what the store's newest snapshot says, or the newest before a gap.
set -eu
# shellcheck source=components/backups/scripts/off-site-lib.sh
. "${0%/*}/off-site-lib.sh"
# shellcheck source=components/backups/scripts/wal-lib.sh
. "${0%/*}/wal-lib.sh"

# Where the history left a timeline, in bytes.
left_of() {
	at=$(echo "$history" | sed -n "s/^$1 //p")
	bytes_of "${at:-0/0}"
}

# Of segments' names in their order, those that a restore of this backup may read. The store keeps what a failover has put aside,
# too: WAL beyond the point where the history left its timeline.
of_history() {
	of=0
	while read -r file; do
		parse_segment "$file"
		[ "$segment_number" -ge "$first" ] || continue
		if [ "$segment_timeline" -ne "$timeline" ]; then
			if [ "$segment_timeline" -ne "$of" ]; then
				of=$segment_timeline
				left=$(left_of "$of")
			fi
			[ $(((segment_number + 1) * segment_bytes)) -le "$left" ] || continue
		fi
		echo "$file"
	done
}

# What the name of a snapshot says. Usage: read_mark NAME
read_mark() {
	second=${1%%.*}
	position=${1#*.}
	segment=${position#*.}
	segment=${segment%.gz}
	position=${position%%.*}
	parse_segment "$segment"
}

# Of snapshots' names, newest first, the first one before the gap, of the history too. The WAL was deleted before it was copied
# where the store was away for longer than base backups are kept.
before_gap() {
	while read -r name; do
		read_mark "$name"
		[ "$segment_number" -le "$gap" ] || continue
		[ "$segment_timeline" -eq "$timeline" ] || [ "$position" -le "$(left_of "$segment_timeline")" ] || continue
		echo "$name"
		return
	done
}

fetch_wal() {
	chain=$(cat "$partial/chain")
	store=offsite:wal/$chain
	rm -rf "$fetched"
	mkdir -p "$fetched"
	rclone lsf --files-only "$store/reached" | sort -r >"$fetched/.marks"
	newest=$(head -n 1 "$fetched/.marks")
	[ -n "$newest" ] || fail 1 "the object store has no WAL of its chain $chain; the volume is as it was"
	read_mark "$newest"
	timeline=$segment_timeline
	rclone copy --include '/{system,????????.history}' "$store" "$fetched" || fail 1 "its WAL was not fetched whole; the volume is as it was"
	history=''
	of_timeline=$fetched/$(printf %08X "$timeline").history
	[ ! -f "$of_timeline" ] || history=$(forks <"$of_timeline")
	read_manifest "$partial" || fail 1 "it has no manifest; the volume is as it was"
	first=$(($(bytes_of "$from_lsn") / segment_bytes))
	rclone lsf --files-only --format sp --separator ' ' --include '/????????????????????????' "$store" >"$fetched/.stored" ||
		fail 1 "its WAL was not fetched whole; the volume is as it was"
	sed -n "s/^$segment_bytes //p" "$fetched/.stored" | sort | of_history >"$fetched/.whole"
	gap=$first
	while read -r file; do
		parse_segment "$file"
		[ "$segment_number" -le "$gap" ] || break
		gap=$((segment_number + 1))
		echo "$file"
	done <"$fetched/.whole" >"$fetched/.wanted"
	reached=$(before_gap <"$fetched/.marks")
	[ -z "$reached" ] || read_mark "$reached"
	if [ "$reached" != "$newest" ]; then
		lacking="the object store lacks segment $(printf '%08X%08X' $((gap / 256)) $((gap % 256))) of $chain"
		[ -n "$reached" ] && [ "$second" -ge "$(cat "$partial/ended")" ] ||
			fail 1 "$lacking, and $BACKUP is of no use without it; the volume is as it was"
		say "$lacking: restores from $BACKUP end before it"
	fi
	[ ! -s "$fetched/.wanted" ] || rclone copy --files-from-raw "$fetched/.wanted" "$store" "$fetched" ||
		fail 1 "its WAL was not fetched whole; the volume is as it was"
	rm "$fetched"/.[a-z]*
	rclone cat "$store/reached/$reached" | gzip -d >"$fetched/$segment.partial" || fail 1 "$reached is damaged; the volume is as it was"
	[ "$(wc -c <"$fetched/$segment.partial")" -eq "$segment_bytes" ] || fail 1 "$reached is damaged; the volume is as it was"
	echo "$second $position $segment_timeline" >"$fetched/reached"
}

# A chain that the volume still has goes on there, and lacks only what was deleted with older base backups; or it was fetched too,
# up to a gap, and this base backup is from after that.
add_wal() {
	if [ ! -d "$wal/$chain" ]; then
		mv "$fetched" "$wal/$chain"
		return
	fi
	for file in "$fetched"/???????????????????????? "$fetched"/????????.history; do
		[ ! -f "$file" ] || [ -e "$wal/$chain/${file##*/}" ] || mv "$file" "$wal/$chain/"
	done
	read -r since _ <"$wal/$chain/reached"
	[ "$since" -ge "$second" ] || mv "$fetched/$segment.partial" "$fetched/reached" "$wal/$chain/"
	rm -rf "$fetched"
}

copies=$(rclone lsf --dirs-only offsite: | sed -n 's,^\([0-9].*\)/$,\1,p')
echo "$copies" | grep -qxF "${BACKUP:-none}" ||
	fail 2 "the object store has no backup '${BACKUP:-}'. Fix: one of: $(echo "$copies" | tr '\n' ' ')"
[ ! -e "/backups/$BACKUP" ] || fail 2 "the volume has $BACKUP already"
umask 077
partial=/backups/.fetch.$BACKUP fetched=$wal/.fetch.$BACKUP
# What did not come whole takes the room of the backups, and with a full disk of the databases.
trap 'rm -rf "$partial" "$fetched"' EXIT
trap 'exit 143' TERM INT
rm -rf "$partial"
rclone copy "offsite:$BACKUP" "$partial" || fail 1 "it was not fetched whole; the volume is as it was"
(cd "$partial" && sha256sum -c SHA256SUMS) >/dev/null || fail 1 "it does not have its checksums; the volume is as it was"
if [ -f "$partial/chain" ]; then
	fetch_wal
	# In this order: WAL without a base backup is deleted by the job that makes the next one.
	mv "$partial" "/backups/$BACKUP"
	add_wal
	say "fetched: $BACKUP, and WAL up to $(date -u -d "@$second" '+%F %T+00:00')"
else
	mv "$partial" "/backups/$BACKUP"
	say "fetched: $BACKUP"
fi
