#!/bin/sh
# Copy every backup that counts and is not there yet to the object store. Nothing is ever deleted or changed there: what may go,
# and when, is a rule of the bucket, and the key needs no right to delete.
set -eu
# shellcheck source=components/backups/scripts/off-site-lib.sh
. "${0%/*}/off-site-lib.sh"

rclone copy --immutable --include '/[0-9]*Z/**' /backups offsite: || fail 1 "the copy is incomplete. Fix: see the reason above; the next run goes on"
rclone check --one-way --size-only --include '/[0-9]*Z/**' /backups offsite: || fail 1 "the copies are not those of the volume"
# The last part of the directory in the bucket.
kind=${RCLONE_CONFIG_OFFSITE_REMOTE##*/}
# Beside those of base backups there is the directory of the WAL.
copies=$(rclone lsf --dirs-only offsite: | grep -c '^[0-9]' || :)
{
	gauge gx_off_site_last_success_timestamp_seconds "$(date +%s)" "When every backup was last known to be in the object store."
	gauge gx_off_site_copies "$copies" "Backups in the object store."
} | publish off-site || :
say "off-site: $copies backups"
