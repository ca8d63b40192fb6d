#!/bin/sh
# Back up one instance of the former StatefulSet as `postgres-backup.sh` does, once nobody can write to it any more: a row that
# is written after this is in no dump. Without EXECUTE=yes it says what it finds. The only change is on the volume of the dumps.
set -eu
# shellcheck source=components/backups/scripts/lib.sh
. "${0%/*}/lib.sh"
# shellcheck source=components/backups/scripts/postgres-lib.sh
. "${0%/*}/postgres-lib.sh"

ask() {
	psql --no-psqlrc -qAt --set=ON_ERROR_STOP=1 --dbname="$PGDATABASE" -c "$1"
}

await_server
system=$(ask 'SELECT system_identifier FROM pg_control_system()') || fail 1 "$PGHOST does not let $PGUSER in. The reason is above"
say "$PGHOST: PostgreSQL $(ask 'SHOW server_version'), system $system, database $PGDATABASE of $(
	ask 'SELECT pg_size_pretty(pg_database_size(current_database()))')"
others=$(ask "SELECT string_agg(datname, ' ') FROM pg_database WHERE NOT datistemplate AND datname NOT IN ('postgres', current_database())")
[ -z "$others" ] || say "$PGHOST has other databases, which are not adopted: $others"
[ "$(ask 'SELECT pg_is_in_recovery()')" = f ] || fail 2 "$PGHOST is a standby. Fix: name the instances that accept writes"
[ "$(ask 'SHOW default_transaction_read_only')" = on ] ||
	fail 2 "$PGHOST accepts writes. Fix: ALTER SYSTEM SET default_transaction_read_only = on; SELECT pg_reload_conf();"
# That of the question before may not have ended yet.
tries=0
while
	sessions=$(ask "SELECT string_agg(format('%s from %s', usename, coalesce(host(client_addr), 'its own pod')), ', ')
		FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()") || exit 1
	[ -n "$sessions" ]
do
	tries=$((tries + 1))
	[ "$tries" -lt 5 ] || fail 2 "$PGHOST has sessions: $sessions. Fix: scale its clients to 0, and close every psql"
	sleep 1
done
[ "$(ask 'SELECT count(*) FROM pg_prepared_xacts')" = 0 ] ||
	fail 2 "$PGHOST has prepared transactions. Fix: COMMIT PREPARED or ROLLBACK PREPARED each of pg_prepared_xacts"
[ "${EXECUTE:-}" = yes ] || { say "dry run: nothing was written. Fix: add --execute" && exit 0; }
echo "$system" >"$backups/system"
ask 'SELECT pg_database_size(current_database())' >"$backups/bytes"
exec sh "${0%/*}/postgres-backup.sh"
