#!/bin/sh
# Load the newest backup into a server of this pod's own, and compare the number of keys with what was recorded.
set -eu
# shellcheck source=components/backups/scripts/lib.sh
. "${0%/*}/lib.sh"
# shellcheck source=components/backups/scripts/redis-lib.sh
. "${0%/*}/redis-lib.sh"

begin_test
verify "$backups/$tested"
began=$(date +%s)
serve_copy "$backups/$tested/dump.rdb"
took=$(($(date +%s) - began))
loaded=$(own INFO persistence | tr -d '\r' | awk -F: '/^rdb_last_load_keys_(loaded|expired):/ { keys += $2 } END { print keys }')
[ "$loaded" = "$(cat "$backups/$tested/keys")" ] || fail 1 "$loaded keys were loaded, $(cat "$backups/$tested/keys") recorded"
say "$tested is restorable: $loaded keys as recorded, loaded in $took s"
