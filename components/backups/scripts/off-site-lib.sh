# shellcheck shell=sh
# What the jobs that reach the object store share. Sourced, never run.
#
# Contents are encrypted before they leave (https://rclone.org/crypt/); names tell the time of a backup and no more.
# shellcheck source=components/backups/scripts/lib.sh
. "${0%/*}/lib.sh"

# The password is in the environment, and rclone wants it in a form of its own, which is no secret's keeper either.
RCLONE_CONFIG_OFFSITE_PASSWORD=$(printf '%s\n' "$OFF_SITE_PASSWORD" | rclone obscure -)
export RCLONE_CONFIG_OFFSITE_PASSWORD
# No file of settings, and one that is damaged on its way is sent again.
export RCLONE_CONFIG=/dev/null RCLONE_RETRIES="${RCLONE_RETRIES:-3}" RCLONE_CONTIMEOUT=10s RCLONE_STATS=0
