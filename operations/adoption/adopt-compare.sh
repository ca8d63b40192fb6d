#!/bin/sh
# Compare the dumps of the former instances row by row, in a server of this pod's own, and put them together there: all rows
# of the CHOSEN one, and each row of another one either beside them in its table, with TAKE_ROWS=yes and where it conflicts
# with nothing, or in the table adopted.rows. Then count: a row that is in neither place stops everything.
#
# INSTANCES=names     whose dumps there are, each in /adoption/NAME as a set of backups.
# MOVE=yes            make what was put together a set of backups in /backups, and restore it into the live database, as
#                     `postgres-restore.sh` does: in one transaction, only with EXECUTE=yes, and never over rows that are there.
set -eu
# shellcheck source=components/backups/scripts/lib.sh
. "${0%/*}/lib.sh"
# shellcheck source=components/backups/scripts/postgres-lib.sh
. "${0%/*}/postgres-lib.sh"
scripts=${0%/*}
dumps=/adoption
live_host=${PGHOST:-} live_user=${PGUSER:-}

# shellcheck disable=SC2329 # called by the trap
end() {
	stop_scratch_server
	[ -z "${partial:-}" ] || rm -rf "$partial"
}
trap 'end' EXIT
trap 'exit 143' TERM INT

newest_of() {
	(backups=$dumps/$1 && newest)
}

case " $INSTANCES " in
*" $CHOSEN "*) ;;
*) fail 2 "$CHOSEN is none of the instances. Fix: one of: $INSTANCES" ;;
esac
others='' needed=0
for instance in $INSTANCES; do
	set=$(newest_of "$instance")
	[ -n "$set" ] || fail 2 "there is no dump of $instance. Fix: make one with the command dump --execute"
	verify "$dumps/$instance/$set"
	same=$(grep -lxF "$(cat "$dumps/$instance/system")" "$dumps"/*/system | grep -vxF "$dumps/$instance/system" || :)
	[ -z "$same" ] || fail 2 "$instance is the same database as $same. Fix: dump each instance by its own name, and no standby"
	say "dump of $instance: $set, $(wc -l <"$dumps/$instance/$set/tables") tables, $(
		awk -F'|' '{ rows += $2 } END { printf "%.0f", rows }' "$dumps/$instance/$set/tables") rows, verified"
	needed=$((needed + $(cat "$dumps/$instance/bytes") / 1024))
	[ "$instance" = "$CHOSEN" ] || others="$others $instance"
done
free=$(df -Pk /scratch | sed -n 2p | tr -s ' ' | cut -d' ' -f4)
[ "$free" -gt "$((needed * 2))" ] || fail 4 "/scratch has $free KiB free, less than twice the databases. Fix: free the node's disk"

# Every session writes a value as the same text, names included. What does not fit in memory is sorted and joined on the disk.
scratch_server "
	work_mem = 32MB
	max_parallel_workers_per_gather = 0
	datestyle = 'ISO, YMD'
	intervalstyle = 'iso_8601'
	timezone = 'UTC'
	extra_float_digits = 1
	bytea_output = 'hex'
	search_path = 'pg_catalog'
	log_min_error_statement = 'panic'
"
sql() {
	psql --no-psqlrc -qAt --set=ON_ERROR_STOP=1 --set=VERBOSITY=terse "$@"
}

# Usage: load INSTANCE DATABASE OPTIONS..., which are pg_restore's
load() {
	instance=$1 database=$2 dump=$dumps/$1/$(newest_of "$1")
	shift 2
	pg_restore --exit-on-error --no-owner --no-privileges --dbname="$database" "$@" "$dump/database.dump" ||
		fail 1 "the dump of $instance cannot be loaded. The reason is above"
	sql --dbname="$database" --file="$scripts/tables.sql" >/scratch/tables
	difference=$(diff "$dump/tables" /scratch/tables) || fail 1 "$instance is not as recorded at its dump, < recorded, > loaded:
$difference"
	say "$instance: loaded, and every table is as recorded at its dump"
}

# As in a new cluster: the same roles, owner and default rights that the restored database will have.
sql --dbname=postgres --set=database="$PGDATABASE" --file="$scripts/bootstrap.sql" || fail 1 "the database could not be made"
load "$CHOSEN" "$PGDATABASE" --role=gx_owner
n=0
for instance in $CHOSEN $others; do
	sed "s/^/$n|/" "$dumps/$instance/$(newest_of "$instance")/tables"
	n=$((n + 1))
done >/scratch/recorded
for instance in $others; do
	createdb --template=template0 "$instance"
	load "$instance" "$instance"
done

say "comparing with $CHOSEN, row by row"
sql --set=chosen="$CHOSEN" --set=others="${others# }" --set=scripts="$scripts" \
	--file="$scripts/adopt-compare.sql" || fail 1 "the instances could not be compared. The reason is above"
sql --file="$scripts/adopt-report.sql" >/scratch/report.txt
sql -c 'SELECT stage.report()' >/scratch/report.json
cp /scratch/report.txt /scratch/report.json "$dumps/"
cat /scratch/report.txt
sql --set=take="${TAKE_ROWS:-no}" --file="$scripts/adopt-merge.sql" ||
	fail 1 "the instances cannot be put together, and nothing was written. The reason is above"
say "put together: every row of every instance is in its table or in adopted.rows"
[ "${MOVE:-}" = yes ] || { say "compared; nothing was changed. The report is also in report.txt and report.json beside the dumps" && exit 0; }

KEEP=2
begin
trap 'end' EXIT
reserve "$(sql -c 'SELECT pg_database_size(current_database())')"
dump_into "$partial"
finish
trap - EXIT
stop_scratch_server
rm -rf "$PGDATA"
exec env PGHOST="$live_host" PGUSER="$live_user" WHAT=database BACKUP="$name" sh "$scripts/postgres-restore.sh"
