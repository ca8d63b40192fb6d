#!/bin/sh
# Bring a backup back from the object store into the volume, where it counts once it has its checksums. BACKUP=name.
set -eu
# shellcheck source=components/backups/scripts/off-site-lib.sh
. "${0%/*}/off-site-lib.sh"

rclone lsf --dirs-only offsite: | grep -qxF "${BACKUP:-}/" ||
	fail 2 "the object store has no backup '${BACKUP:-}'. Fix: one of: $(rclone lsf --dirs-only offsite: | tr -d / | tr '\n' ' ')"
[ ! -e "/backups/$BACKUP" ] || fail 2 "the volume has $BACKUP already"
umask 077
partial=/backups/.fetch.$BACKUP
rm -rf "$partial"
rclone copy "offsite:$BACKUP" "$partial" || fail 1 "it was not fetched whole; the volume is as it was"
(cd "$partial" && sha256sum -c SHA256SUMS) >/dev/null || fail 1 "it does not have its checksums; the volume is as it was"
mv "$partial" "/backups/$BACKUP"
say "fetched: $BACKUP"
