#!/bin/sh
# Run the sentinel of one instance. What it has learned lies on the volume; what the settings say is written anew at each
# start, around it. A changed setting, password or certificate restarts the sentinel alone, not the server beside it.
set -eu
# shellcheck source=components/redis/scripts/lib.sh
. "${0%/*}/lib.sh"
state=/data/sentinel/sentinel.conf

# The master this sentinel begins with: what a majority of the others says, what it knew itself, or the first instance.
initial_master() {
	ask_sentinels
	known=''
	[ ! -f "$state" ] || known=$(sed -n "s/^sentinel monitor $master_name \([^ ]*\) .*/\1/p" "$state")
	if [ -n "$agreed" ]; then
		initial=$agreed why="a majority of the sentinels says so"
	elif [ -n "$known" ]; then
		initial=$known why="it was before"
	else
		initial=$(member 0) why="nothing is known yet"
	fi
	say "watching $initial: $why"
}

# Quoted for a configuration file of Redis.
quoted() {
	printf '"%s"' "$(sed 's/[\\"]/\\&/g' "$1")"
}

write_configuration() {
	mkdir -p "${state%/*}"
	(
		umask 077
		{
			cat "$config/sentinel.conf"
			echo "sentinel announce-ip $(member "$ordinal")"
			echo "sentinel sentinel-user sentinel"
			echo "sentinel sentinel-pass $(quoted "$secrets/sentinel")"
			[ ! -f "$state" ] || grep -E '^sentinel (myid|current-epoch) ' "$state" || :
			echo "sentinel monitor $master_name $initial 6379 $QUORUM"
			[ ! -f "$state" ] || [ "$initial" != "$known" ] ||
				grep -E "^sentinel (config-epoch|leader-epoch|known-replica|known-sentinel) $master_name " "$state" || :
			echo "sentinel auth-user $master_name sentinel"
			echo "sentinel auth-pass $master_name $(quoted "$secrets/sentinel")"
			cat "$config/timing.conf"
		} >"$state.new"
	)
	mv "$state.new" "$state"
}

digest() {
	cat "$config/sentinel.conf" "$config/timing.conf" "$secrets/sentinel" "$secrets/sentinel.acl" "$tls"/* | sha256sum
}

stopping='' sentinel=''
trap 'stopping=yes; kill -TERM "$sentinel" 2>/dev/null || :' TERM INT
while :; do
	initial_master
	started_with=$(digest)
	write_configuration
	[ -z "$stopping" ] || exit 143
	redis-server "$state" --sentinel &
	sentinel=$!
	while kill -0 "$sentinel" 2>/dev/null && [ "$(digest)" = "$started_with" ]; do
		sleep "${WATCH_SECONDS:-5}" &
		wait $! || :
	done
	# By then the servers everywhere know the new password, which the kubelets deliver in their own time.
	if [ -z "$stopping" ] && kill -0 "$sentinel" 2>/dev/null; then
		say "the settings changed: restarting the sentinel in ${SETTLE_SECONDS:-120} s"
		sleep "${SETTLE_SECONDS:-120}" &
		wait $! || :
	fi
	code=0
	if [ -z "$stopping" ] && kill -0 "$sentinel" 2>/dev/null; then
		say "restarting the sentinel"
		kill -TERM "$sentinel"
		wait "$sentinel" || :
		continue
	fi
	wait "$sentinel" || code=$?
	say "the sentinel has stopped with status $code"
	exit "$code"
done
