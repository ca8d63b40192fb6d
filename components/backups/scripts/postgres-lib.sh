# shellcheck shell=sh disable=SC2034
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
