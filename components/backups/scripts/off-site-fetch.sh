#!/bin/sh
# Bring a backup back from the object store into the volume, where it counts once it has its checksums. BACKUP=name. With a base
# backup comes the WAL of its chain, from its beginning up to what the store's newest snapshot says.
set -eu
# shellcheck source=components/backups/scripts/off-site-lib.sh
. "${0%/*}/off-site-lib.sh"
# shellcheck source=components/backups/scripts/wal-lib.sh
. "${0%/*}/wal-lib.sh"

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
				left=$(echo "$history" | sed -n "s/^$of //p")
				left=$(bytes_of "${left:-0/0}")
			fi
			[ $(((segment_number + 1) * segment_bytes)) -le "$left" ] || continue
		fi
		echo "$file"
	done
}

fetch_wal() {
	chain=$(cat "$partial/chain")
	store=offsite:wal/$chain
	reached=$(rclone lsf --files-only "$store/reached" | sort | tail -n 1)
	[ -n "$reached" ] || fail 1 "the object store has no WAL of its chain $chain; the volume is as it was"
	second=${reached%%.*}
	position=${reached#*.}
	segment=${position#*.}
	segment=${segment%.gz}
	position=${position%%.*}
	parse_segment "$segment"
	timeline=$segment_timeline
	rm -rf "$fetched"
	mkdir -p "$fetched"
	rclone copy --include '/{system,????????.history}' "$store" "$fetched" || fail 1 "its WAL was not fetched whole; the volume is as it was"
	history=''
	of_timeline=$fetched/$(printf %08X "$timeline").history
	[ ! -f "$of_timeline" ] || history=$(forks <"$of_timeline")
	read_manifest "$partial" || fail 1 "it has no manifest; the volume is as it was"
	first=$(($(bytes_of "$from_lsn") / segment_bytes))
	rclone lsf --files-only --include '/????????????????????????' "$store" >"$fetched/.stored" ||
		fail 1 "its WAL was not fetched whole; the volume is as it was"
	sort "$fetched/.stored" | of_history >"$fetched/.wanted"
	[ ! -s "$fetched/.wanted" ] || rclone copy --files-from-raw "$fetched/.wanted" "$store" "$fetched" ||
		fail 1 "its WAL was not fetched whole; the volume is as it was"
	rm "$fetched/.stored" "$fetched/.wanted"
	rclone cat "$store/reached/$reached" | gzip -d >"$fetched/$segment.partial" || fail 1 "$reached is damaged; the volume is as it was"
	[ "$(wc -c <"$fetched/$segment.partial")" -eq "$segment_bytes" ] || fail 1 "$reached is damaged; the volume is as it was"
	echo "$second $position $timeline" >"$fetched/reached"
}

# A chain that the volume still has goes on there, and lacks only what was deleted with older base backups.
add_wal() {
	if [ ! -d "$wal/$chain" ]; then
		mv "$fetched" "$wal/$chain"
		return
	fi
	for file in "$fetched"/????????????????????????; do
		[ ! -f "$file" ] || [ -e "$wal/$chain/${file##*/}" ] || mv "$file" "$wal/$chain/"
	done
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
