#!/bin/sh
# Restore the database or one table from a backup. Without EXECUTE=yes it says what it would do and changes nothing.
#
# WHAT=database  the whole content of the live database becomes that of the backup, in one transaction: all or nothing.
#                Refused while the live database holds rows, unless OVERWRITE=yes.
# WHAT=table     TABLE=schema.name goes into the schema `restored`, beside the live one, which is not touched.
#                With OVERWRITE=yes the live table's rows become those of the backup, in one transaction.
# BACKUP=name    a set other than the newest that holds anything.
set -eu
# shellcheck source=components/backups/scripts/lib.sh
. "${0%/*}/lib.sh"
# shellcheck source=components/backups/scripts/postgres-lib.sh
. "${0%/*}/postgres-lib.sh"

query() {
	psql --no-psqlrc -qAt --set=ON_ERROR_STOP=1 "$@"
}

# The live database changes in this one transaction. A dump that ends early never gets to the COMMIT.
# Usage: in_one_transaction COMMAND..., which writes SQL.
in_one_transaction() {
	{ echo 'BEGIN; SET LOCAL statement_timeout = 0;' && "$@" && printf '%s\n' 'COMMIT;' '\echo committed'; } |
		query >/scratch/answer || :
	[ "$(tail -n 1 /scratch/answer)" = committed ] ||
		fail 1 "nothing was changed. The reason is above; the live database is as it was"
}

backup=${BACKUP:-$(newest_filled)}
[ -n "$backup" ] && [ -d "$backups/$backup" ] ||
	fail 2 "no backup ${backup:-at all}. Fix: one of: $(sets | tr '\n' ' ')"
dump=$backups/$backup/database.dump
verify "$backups/$backup"
await_server
say "backup: $backup, of $(date -u -d "@$(timestamp "$backup")" '+%F %T') UTC, verified"
[ -n "${BACKUP:-}" ] || say_passed_over "$backup"

database_sql() {
	# All that the owner has goes, also what is newer than the backup; the database and its other roles stay.
	echo 'DROP OWNED BY CURRENT_USER CASCADE;' && pg_restore --no-owner --file=- "$dump"
}

restore_database() {
	query --file="${0%/*}/tables.sql" >/scratch/tables ||
		fail 1 "the live database cannot be read, so whether it is empty is not known; nothing was changed"
	rows=$(awk -F'|' '{ rows += $2; tables++ } END { printf "%.0f rows in %d tables", rows, tables }' /scratch/tables)
	say "live database $PGDATABASE at $PGHOST: $rows"
	say "plan: replace all of it by $(wc -l <"$backups/$backup/tables") tables of $backup, in one transaction"
	if [ "${OVERWRITE:-}" != yes ] && cmp -s "$backups/$backup/tables" /scratch/tables; then
		say "the live database is as recorded already: nothing to restore" && exit 0
	fi
	case $rows in
	"0 rows"*) ;;
	*) [ "${OVERWRITE:-}" = yes ] || fail 2 "the live database holds rows. Fix: add --overwrite to replace them" ;;
	esac
	[ "${EXECUTE:-}" = yes ] || { say "dry run: nothing was changed. Fix: add --execute" && exit 0; }
	in_one_transaction database_sql
	query --file="${0%/*}/tables.sql" >/scratch/tables
	difference=$(diff "$backups/$backup/tables" /scratch/tables) || {
		say "restored, and written to since then or restored incompletely; < recorded, > live:"
		echo "$difference" >&2
		exit 1
	}
	say "restored: $(wc -l </scratch/tables) tables, each as recorded"
}

# The rows of the dump as `COPY`, into another table.
rows_into() {
	rm -f /scratch/read
	{ pg_restore --data-only --schema="$schema" --table="$table" --file=- "$dump" && : >/scratch/read; } |
		awk -v target="$1" '!done && /^COPY / { sub(/^COPY [^(]*/, "COPY " target " "); done = 1 } { print }'
	[ -f /scratch/read ]
}

beside_sql() {
	echo "CREATE SCHEMA IF NOT EXISTS restored; CREATE TABLE $beside (LIKE $live);" && rows_into "$beside"
}

overwrite_sql() {
	echo "CREATE TEMPORARY TABLE backed_up ON COMMIT DROP AS TABLE $live WITH NO DATA;" && rows_into backed_up &&
		printf "\\\\set live '%s'\n" "$live" && cat "${0%/*}/overwrite-table.sql"
}

restore_table() {
	wanted=${TABLE:-}
	schema=${wanted%%.*} table=${wanted#*.}
	case $wanted in
	*[!A-Za-z0-9_.]* | *.*.* | .* | *.) schema='' ;;
	*.*) ;;
	*) schema='' ;;
	esac
	[ -n "$schema" ] || fail 2 "the table is '$wanted'. Fix: write it as schema.name, as public.wallet"
	recorded=$(awk -F'|' -v name="$wanted" '{ plain = $1; gsub(/"/, "", plain) } plain == name { print $2 }' "$backups/$backup/tables")
	[ -n "$recorded" ] || fail 2 "$backup has no table $wanted. Fix: one of: $(cut -d'|' -f1 "$backups/$backup/tables" | tr '\n' ' ')"
	live="\"$schema\".\"$table\""
	exists=$(query -c "SELECT to_regclass('$live') IS NOT NULL")
	if [ "$exists" = f ]; then
		restore_missing_table
	elif [ "${OVERWRITE:-}" = yes ]; then
		rows=$(query -c "SELECT count(*) FROM $live")
		say "plan: make the $rows live rows of $wanted the $recorded rows of $backup, in one transaction"
		[ "${EXECUTE:-}" = yes ] || { say "dry run: nothing was changed. Fix: add --execute" && exit 0; }
		in_one_transaction overwrite_sql
		say "restored: $wanted has the $recorded rows of $backup"
	else
		beside="restored.\"${table}_$(echo "$backup" | tr 'TZ' 'tz')\""
		say "plan: put $recorded rows into $beside; the live $wanted is not touched"
		[ "${EXECUTE:-}" = yes ] || { say "dry run: nothing was changed. Fix: add --execute" && exit 0; }
		in_one_transaction beside_sql
		say "restored: $recorded rows are in $beside. Compare, copy what is missing, and drop it"
	fi
}

missing_sql() {
	pg_restore --no-owner --schema="$schema" --table="$table" --file=- "$dump"
}

# Statements of the backup that are about a table and its sequences, but for its own. Usage: lacking SCHEMA.NAME, without quotes
lacking() {
	pg_restore --no-owner --section=pre-data --section=post-data --file=/scratch/statements.sql "$dump"
	awk -v RS=';\n' -v name="$1" '
		{ plain = $0; gsub(/"/, "", plain) }
		NR == FNR {
			if (index(plain, " OWNED BY " name ".") && match(plain, /ALTER SEQUENCE [^ ]+/))
				sequence[substr(plain, RSTART + 15, RLENGTH - 15)]
			next
		}
		{ found = index(plain, " " name "\n") || index(plain, " " name " ") || index(plain, " OWNED BY " name ".") }
		match(plain, /CREATE SEQUENCE [^ \n]+/) { found = substr(plain, RSTART + 16, RLENGTH - 16) in sequence }
		found && plain !~ /CREATE TABLE / { print $0 ";" }
	' /scratch/statements.sql /scratch/statements.sql
}

restore_missing_table() {
	say "plan: create $wanted, which the live database does not have, with $recorded rows; without its defaults, indexes and constraints"
	[ "${EXECUTE:-}" = yes ] || { say "dry run: nothing was changed. Fix: add --execute" && exit 0; }
	in_one_transaction missing_sql
	say "restored: $wanted with $recorded rows. It has no default, index, key, trigger or grant yet; those of the backup are:"
	lacking "$wanted" >&2
}

case ${WHAT:-} in
database) restore_database ;;
table) restore_table ;;
*) fail 2 "WHAT is '${WHAT:-}'. Fix: database or table" ;;
esac
