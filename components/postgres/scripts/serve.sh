#!/bin/sh
# Run the server of one instance and keep it in line with the mounted settings and secrets, which change under it.
#
# The role is decided again here: a container restarts without its pod's init containers, and meanwhile another instance
# may have become the primary.
set -eu
# shellcheck source=components/postgres/scripts/lib.sh
. "${0%/*}/lib.sh"

# Made by failover.step_down, in the primary.
ordered=/var/run/postgresql/step-down
rm -f "$ordered"
sh "${0%/*}/decide-role.sh" &
decision=$!
trap 'kill -TERM "$decision" 2>/dev/null; exit 143' TERM INT
wait "$decision"
read_cluster

# A standby must allow at least as many connections as the primary it replays, or it stops in the midst of a roll-out that
# lowers the number. https://www.postgresql.org/docs/15/hot-standby.html#HOT-STANDBY-ADMIN
wanted=$(sed -n 's/^max_connections = //p' "$config/restart.conf")
replayed=$(pg_controldata "$PGDATA" | sed -n 's/^max_connections setting: *//p')
[ "$replayed" -le "$wanted" ] || [ ! -f "$PGDATA/standby.signal" ] || wanted=$replayed

digest() {
	cat "$@" | sha256sum
}

# Before the server reads them: what changes from here on is followed.
loaded=$(digest "$config"/*.conf "$tls"/*)
# The shell stays, so that the server is no parent of processes it did not start.
postgres -D "$PGDATA" -c config_file="$config/postgresql.conf" -c cluster_name="$POD_NAME" \
	-c primary_slot_name="postgres_$ordinal" -c max_connections="$wanted" &
server=$!
# SIGINT is the fast shutdown: clients are cut off, everything is written.
stopping=''
trap 'stopping=yes; kill -INT "$server" 2>/dev/null || :' INT TERM

receives() {
	[ "$(psql --no-psqlrc -qAt --host=/var/run/postgresql --username="$ADMIN" --dbname=postgres \
		-c "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'")" = 1 ]
}

follow_settings() {
	reconciled=''
	while sleep "${WATCH_SECONDS:-5}"; do
		read_cluster
		now=$(digest "$config"/*.conf "$tls"/*)
		if [ "$now" != "$loaded" ]; then
			say "the settings or the certificate changed: reloading"
			kill -HUP "$server"
			loaded=$now
		fi
		role=primary
		[ ! -f "$PGDATA/standby.signal" ] || role=standby
		if [ -e "$ordered" ]; then
			say "stopping to come back as a standby, as the failover role asks"
			kill -INT "$server"
			return
		fi
		# It was away, or cut off, when another instance was promoted.
		if [ "$role" = primary ] && [ "$PRIMARY_ORDINAL" != "$ordinal" ] && sh "${0%/*}/decide-role.sh" superseded >/dev/null; then
			say "another primary has taken this one's place: stopping to follow it"
			kill -INT "$server"
			return
		fi
		if [ "$role" = standby ] && [ -s "$bound" ] &&
			{ ! grep -q "host=$(member "$PRIMARY_ORDINAL") " "$bound" || ! receives; } &&
			newest=$(sh "${0%/*}/decide-role.sh" superseded) && ! grep -q "host=$newest " "$bound"; then
			say "standby: $newest has replaced the primary that it is bound to; it follows that one"
			bind_to "$newest"
			kill -HUP "$server"
		fi
		wish="$role $MEMBERS $ARCHIVE $(digest "$secrets"/*)"
		if [ "$wish" != "$reconciled" ] && server_state 127.0.0.1; then
			reconciled=''
			write_pgpass
			if reconcile; then
				say "$role: slots and passwords are as the settings say"
				reconciled=$wish
			fi
		fi
	done
}
follow_settings &
watcher=$!

# A signal ends `wait` early; the server is gone when it is no longer there to be signalled.
code=0
while :; do
	wait "$server" && code=0 || code=$?
	kill -0 "$server" 2>/dev/null || break
done
kill "$watcher" 2>/dev/null || :
say "the server has stopped with status $code"
if [ -e "$ordered" ] && [ -z "$stopping" ]; then
	# After a clean shutdown the standbys have all of this instance's WAL, and it can follow any of them.
	pg_controldata "$PGDATA" | grep -q '^Database cluster state: *shut down$' && touch "$PGDATA.stepped-down"
	exec sh "$0"
fi
exit "$code"
