# shellcheck shell=sh disable=SC2034,SC2154
# What the jobs around backups of Postgres share. Sourced, never run.
kind=postgres
export PGCONNECT_TIMEOUT=5

# A network policy takes effect some seconds after a pod's start.
await_server() {
	tries=0
	until pg_isready --quiet --timeout=5; do
		tries=$((tries + 1))
		[ "$tries" -lt "${TRIES:-60}" ] || fail 1 "$PGHOST does not accept connections. Fix: see whether the primary runs"
		sleep 2
	done
}

# A listing reads the table of contents alone, and accepts a dump that is cut short.
read_back() {
	pg_restore --file=/dev/null "$1/database.dump" && [ -s "$1/globals.sql" ] && [ -f "$1/tables" ]
}

# Usage: is_empty DIRECTORY
is_empty() {
	awk -F'|' '$2 > 0 { rows = 1 } END { exit rows }' "$1/tables"
}

# Everything that a set holds. One session exports the snapshot that pg_dump reads from, and records in the same snapshot what
# every table holds. Usage: dump_into DIRECTORY
dump_into() {
	PARTIAL=$1 psql --no-psqlrc -qAt --set=ON_ERROR_STOP=1 --file="${0%/*}/snapshot.sql" ||
		fail 1 "the database was lost during the dump. Fix: look at the server's log; the job tries again"
	rm "$1/dump-is-complete" 2>/dev/null || fail 1 "pg_dump did not come to its end"
	pg_dumpall --no-password --database=postgres --globals-only --no-role-passwords --file="$1/globals.sql" ||
		fail 1 "the roles could not be read"
}

# Settings of a server that nobody but this pod reaches, and that is thrown away: nothing waits for the disk.
# Usage: scratch_settings DIRECTORY USER [SETTINGS]
scratch_settings() {
	cat >"$1/postgresql.conf" <<-CONF
		listen_addresses = ''
		unix_socket_directories = '/scratch'
		fsync = off
		full_page_writes = off
		synchronous_commit = off
		wal_level = minimal
		max_wal_senders = 0
		max_wal_size = 1GB
		shared_buffers = 64MB
		maintenance_work_mem = 64MB
		${3:-}
	CONF
	echo "map $(id -un) $2" >"$1/pg_ident.conf"
	echo "local all $2 peer map=map" >"$1/pg_hba.conf"
}

# A new server of that kind in /scratch. Its user is no role that a backup could hold. Usage: scratch_server [SETTINGS]
scratch_server() {
	export PGHOST=/scratch PGUSER=scratch PGDATA=/scratch/pgdata
	rm -rf "$PGDATA"
	initdb --username="$PGUSER" --auth=peer --locale=C --encoding=UTF8 --no-sync >/dev/null ||
		fail 1 "no server could be made in /scratch"
	scratch_settings "$PGDATA" "$PGUSER" "${1:-}"
	pg_ctl --silent --wait --log=/scratch/server.log start >/dev/null ||
		fail 1 "the server did not start: $(tail -n 3 /scratch/server.log)"
}

stop_scratch_server() {
	[ ! -f /scratch/pgdata/postmaster.pid ] || pg_ctl --pgdata=/scratch/pgdata --silent --mode=immediate stop || :
}
