#!/bin/sh
# Copy the volume of the archive to the object store as it fills, beside the archive and for as long: base backups, whole segments
# under their own names, and of the segment that is being written a snapshot. Nothing is ever deleted or changed there.
#
# A snapshot's name is what can be restored with it, a line of `reached` (wal-lib.sh) with the segment for the timeline:
# wal/CHAIN/reached/SECOND.POSITION.SEGMENT.gz. It is copied last, so whatever the store says it has is there.
set -eu
# shellcheck source=components/backups/scripts/off-site-lib.sh
. "${0%/*}/off-site-lib.sh"
# shellcheck source=components/backups/scripts/wal-lib.sh
. "${0%/*}/wal-lib.sh"
snapshot=/scratch/snapshot.gz
# Beside an upload of a base backup the container's memory holds little.
export RCLONE_TRANSFERS=2 RCLONE_BUFFER_SIZE=4M
trap 'exit 143' TERM INT

# The archive takes base backups by itself too, so that the end of the weekly job would be too late.
copy_sets() {
	now=$(date +%s)
	[ "$(newest)" != "$copied_set" ] || [ $((now - checked)) -ge 3600 ] || return 0
	[ -n "$(newest)" ] || return 0
	tried_set=$(newest)
	sh "${0%/*}/off-site-copy.sh" || return 1
	copied_set=$tried_set checked=$now
}

# Sets second, position, timeline and segment, which holds the position's last byte. Fails while nothing is archived yet.
read_reached() {
	chain=$(newest_chain)
	[ -f "$wal/$chain/reached" ] || return 1
	read -r second position timeline <"$wal/$chain/reached"
	[ -n "$timeline" ] || return 1
	number=$(((position - 1) / segment_bytes))
	segment=$(printf '%08X%08X%08X' "$timeline" $((number / 256)) $((number % 256)))
}

# What was on the disk when `reached` was written is in the file by now. It has neither name while the archive changes over to
# another timeline.
take_snapshot() {
	file=$wal/$chain/$segment.partial
	[ -f "$file" ] || file=$wal/$chain/$segment
	[ -f "$file" ] && gzip -1 <"$file" >"$snapshot"
}

# A segment that is there is never read again: its name says what it is, and only whole ones have it.
copy_wal() {
	take_snapshot || return 1
	rclone copy --immutable --size-only --include '/[0-9]*Z/{system,????????.history,????????????????????????}' "$wal" offsite:wal ||
		return 1
	# A snapshot of that name that is there is as good. For a single file --immutable forbids nothing, or a second attempt:
	# https://github.com/rclone/rclone/issues/4921
	rclone copyto --ignore-existing "$snapshot" "offsite:wal/$chain/reached/$second.$position.$segment.gz" || return 1
	copied="$chain $second"
}

copied='' copied_set='' checked=0 failed=''
while :; do
	copy_sets || failed=yes
	if read_reached; then
		if [ "$copied" = "$chain $second" ] || copy_wal; then
			gauge gx_off_site_wal_reached_timestamp_seconds "$second" "Newest second that a restore from the object store can reach." | publish off-site-wal || :
			[ -z "$failed" ] || say "off-site: the WAL of $chain is copied"
			failed=''
		else
			say "the WAL was not copied: see the reason above; tried again by itself"
			failed=yes
		fi
	fi
	sleep "${COPY_SECONDS:-300}" &
	wait $! || :
done
