# shellcheck shell=sh disable=SC2034
# What the jobs around backups of Redis share. Sourced, never run.
kind=redis

# Usage: ask COMMAND...
ask() {
	timeout 10 redis-cli --no-auth-warning --tls --cacert "$REDIS_AUTHORITY" --user "${REDIS_USER:-backup}" -h "$REDIS_HOST" -e "$@"
}

# A network policy takes effect some seconds after a pod's start, and for a while after a failover nobody is the master.
await_server() {
	tries=0
	until [ "$(ask PING 2>/dev/null)" = PONG ]; do
		tries=$((tries + 1))
		[ "$tries" -lt "${TRIES:-60}" ] || fail 1 "$REDIS_HOST does not answer. Fix: see whether there is a master"
		sleep 2
	done
}

# Number of keys in a snapshot, expired ones included. Fails on one that is damaged or cut short.
keys_in() {
	checked=$(redis-check-rdb "$1") || return 1
	echo "$checked" | sed -n 's/^\[info\] \([0-9]*\) keys read$/\1/p'
}

read_back() {
	[ "$(keys_in "$1/dump.rdb")" = "$(cat "$1/keys")" ]
}

# Usage: is_empty DIRECTORY
is_empty() {
	[ "$(cat "$1/keys")" = 0 ]
}

# A server in /scratch that nobody else reaches. Usage: serve_copy FILE
serve_copy() {
	cp "$1" /scratch/dump.rdb
	redis-server --port 0 --unixsocket /scratch/redis.sock --dir /scratch --dbfilename dump.rdb --save '' --appendonly no \
		--aof-use-rdb-preamble no --daemonize yes --logfile /scratch/server.log --pidfile /scratch/server.pid >/dev/null
	tries=0
	until [ "$(own PING 2>/dev/null)" = PONG ]; do
		tries=$((tries + 1))
		[ "$tries" -lt 600 ] || fail 1 "the snapshot could not be loaded: $(tail -n 3 /scratch/server.log)"
		sleep 1
	done
}

# Usage: own COMMAND...
own() {
	env -u REDISCLI_AUTH redis-cli -s /scratch/redis.sock -e "$@"
}

# Prints the file that holds the data of the server in /scratch as commands.
written_as_commands() {
	own CONFIG SET appendonly yes >/dev/null
	until own INFO persistence | tr -d '\r' | grep -q '^aof_rewrite_in_progress:0$' &&
		written=$(ls /scratch/appendonlydir/*.base.aof 2>/dev/null); do
		sleep 1
	done
	echo "$written"
}
