#!/bin/sh
# Restore the newest backup into a server of this pod's own, and compare every table with what was recorded at the dump.
#
# The pod has no password and no way to any other; the volume of the backups is read-only here but for the reports.
set -eu
# shellcheck source=components/backups/scripts/lib.sh
. "${0%/*}/lib.sh"
# shellcheck source=components/backups/scripts/postgres-lib.sh
. "${0%/*}/postgres-lib.sh"

# shellcheck disable=SC2329 # called by the trap
conclude() {
	stop_scratch_server
	report_test "$1"
}
begin_test
trap 'conclude "$?"' EXIT
set_directory=$backups/$tested
verify "$set_directory"
free=$(free_kib /scratch)
[ "$free" -gt "$(size_kib "$set_directory")" ] || fail 4 "/scratch has $free KiB free, less than the backup itself"

scratch_server
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
