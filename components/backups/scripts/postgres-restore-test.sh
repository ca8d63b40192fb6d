#!/bin/sh
# Restore the newest backup into a server of this pod's own, and compare every table with what was recorded at the dump.
#
# The pod has no password and no way to any other; the volume of the backups is read-only here but for the reports.
set -eu
# shellcheck source=components/backups/scripts/lib.sh
. "${0%/*}/lib.sh"
# shellcheck source=components/backups/scripts/postgres-lib.sh
. "${0%/*}/postgres-lib.sh"
# Nobody but the restored roles may be in the way of their names.
export PGHOST=/scratch PGUSER=restore_test PGDATA=/scratch/pgdata

# shellcheck disable=SC2329 # called by the trap
conclude() {
	[ ! -f "$PGDATA/postmaster.pid" ] || pg_ctl --silent --mode=immediate stop || :
	report_test "$1"
}
begin_test
trap 'conclude "$?"' EXIT
set_directory=$backups/$tested
verify "$set_directory"
free=$(free_kib /scratch)
[ "$free" -gt "$(size_kib "$set_directory")" ] || fail 4 "/scratch has $free KiB free, less than the backup itself"

rm -rf "$PGDATA"
initdb --username="$PGUSER" --auth=peer --locale=C --encoding=UTF8 --no-sync >/dev/null ||
	fail 1 "no server could be made in /scratch"
scratch_settings "$PGDATA" "$PGUSER"
pg_ctl --silent --wait --log=/scratch/server.log start >/dev/null || fail 1 "the server did not start: $(tail -n 3 /scratch/server.log)"

began=$(date +%s)
psql --no-psqlrc -qAt --set=ON_ERROR_STOP=1 --dbname=postgres --file="$set_directory/globals.sql" ||
	fail 1 "the roles of $tested could not be restored"
createdb restored
pg_restore --dbname=restored --exit-on-error "$set_directory/database.dump" || fail 1 "$tested could not be restored"
took=$(($(date +%s) - began))

psql --no-psqlrc -qAt --set=ON_ERROR_STOP=1 --dbname=restored --file="${0%/*}/tables.sql" >/scratch/tables
difference=$(diff "$set_directory/tables" /scratch/tables) || fail 1 "tables differ from $tested, < recorded, > restored:
$difference"
say "$tested is restorable: $(wc -l </scratch/tables) tables as recorded, restored in $took s"
