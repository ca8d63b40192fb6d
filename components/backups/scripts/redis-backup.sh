#!/bin/sh
# Back up Redis as a replica would copy it, over the wire, as a user that may do nothing else.
#
# The append-only file is no part of it: it is the server's own way through a crash, several files that change together, and
# to be had from the node's disk alone. A snapshot over the wire holds the same data at one moment.
set -eu
# shellcheck source=components/backups/scripts/lib.sh
. "${0%/*}/lib.sh"
# shellcheck source=components/backups/scripts/redis-lib.sh
. "${0%/*}/redis-lib.sh"

begin
await_server
reserve "$(ask INFO memory | tr -d '\r' | sed -n 's/^used_memory://p')"
redis-cli --no-auth-warning --tls --cacert "$REDIS_AUTHORITY" --user backup -h "$REDIS_HOST" --rdb "$partial/dump.rdb" >/dev/null ||
	fail 1 "the copy was cut short. Fix: look at the server's log; the job tries again"
keys_in "$partial/dump.rdb" >"$partial/keys"
finish
