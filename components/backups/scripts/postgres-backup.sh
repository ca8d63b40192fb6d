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

dump_into "$partial"
finish
