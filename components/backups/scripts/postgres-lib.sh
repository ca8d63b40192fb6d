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

# Everything that a set holds. One session exports the snapshot that pg_dump reads from, and records in the same snapshot what
# every table holds.
dump_database() {
	export PARTIAL="$partial"
	psql --no-psqlrc -qAt --set=ON_ERROR_STOP=1 --file="${0%/*}/snapshot.sql" ||
		fail 1 "the database was lost during the dump. Fix: look at the server's log; the job tries again"
	rm "$partial/dump-is-complete" 2>/dev/null || fail 1 "pg_dump did not come to its end"
	pg_dumpall --no-password --database=postgres --globals-only --no-role-passwords --file="$partial/globals.sql" ||
		fail 1 "the roles could not be read"
}

# A server of this pod's own in /scratch, which nothing but this pod reaches and nothing survives. Its user is no role that a
# backup could hold. Usage: scratch_server [SETTINGS]
scratch_server() {
	export PGHOST=/scratch PGUSER=scratch PGDATA=/scratch/pgdata
	rm -rf "$PGDATA"
	initdb --username="$PGUSER" --auth=peer --locale=C --encoding=UTF8 --no-sync >/dev/null ||
		fail 1 "no server could be made in /scratch"
	# What is in it is thrown away: nothing waits for the disk.
	cat >>"$PGDATA/postgresql.conf" <<-CONF
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
		${1:-}
	CONF
	echo "map $(id -un) $PGUSER" >"$PGDATA/pg_ident.conf"
	echo "local all $PGUSER peer map=map" >"$PGDATA/pg_hba.conf"
	pg_ctl --silent --wait --log=/scratch/server.log start >/dev/null ||
		fail 1 "the server did not start: $(tail -n 3 /scratch/server.log)"
}

stop_scratch_server() {
	[ ! -f /scratch/pgdata/postmaster.pid ] || pg_ctl --pgdata=/scratch/pgdata --silent --mode=immediate stop || :
}
