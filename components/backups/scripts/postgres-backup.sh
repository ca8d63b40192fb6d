#!/bin/sh
# Back up the application's database and the cluster's roles, over the wire, as a role that can only read.
set -eu
# shellcheck source=components/backups/scripts/lib.sh
. "${0%/*}/lib.sh"
# shellcheck source=components/backups/scripts/postgres-lib.sh
. "${0%/*}/postgres-lib.sh"

begin
await_server
reserve "$(psql --no-psqlrc -qAt -c 'SELECT pg_database_size(current_database())')"

# One session exports the snapshot that pg_dump reads from, and records in the same snapshot what every table holds.
export PARTIAL="$partial"
psql --no-psqlrc -qAt --set=ON_ERROR_STOP=1 --file="${0%/*}/snapshot.sql" ||
	fail 1 "the database was lost during the dump. Fix: look at the server's log; the job tries again"
rm "$partial/dump-is-complete" 2>/dev/null || fail 1 "pg_dump did not come to its end"
pg_dumpall --no-password --database=postgres --globals-only --no-role-passwords --file="$partial/globals.sql" ||
	fail 1 "the roles could not be read"
finish
