#!/bin/sh
# Decide what this instance is, run its server, and keep it in line with the mounted settings, passwords and certificate.
#
# The sentinels decide who is the master; an instance only obeys them. One rule is added: an instance whose volume is empty
# never starts as the master while a peer may have data, since replicas copy a master's emptiness too.
# https://redis.io/docs/latest/operate/oss_and_stack/management/replication/ (safety of replication without persistence)
set -eu
# shellcheck source=components/redis/scripts/lib.sh
. "${0%/*}/lib.sh"
me=$(member "$ordinal")

# Counts the peers that answer (seen) and those of them that hold keys or follow a master (used).
ask_peers() {
	seen=0 used=0
	peer=0
	while [ "$peer" -lt "$MEMBERS" ]; do
		if [ "$peer" != "$ordinal" ] && keys=$(ask "$(member "$peer")" 6379 DBSIZE); then
			seen=$((seen + 1))
			[ "$keys" = 0 ] || used=$((used + 1))
		fi
		peer=$((peer + 1))
	done
}

# A server that keeps an append-only file loads nothing else, a snapshot beside it neither.
has_data() {
	[ -d /data/appendonlydir ]
}

# Sets master once the server may start.
decide() {
	if [ "$MEMBERS" -eq 1 ]; then
		say "master: the only instance"
		master=$me
		return
	fi
	ask_sentinels
	if [ -z "$agreed" ]; then
		reason="no majority of the sentinels names a master"
	elif [ "$agreed" != "$me" ]; then
		say "replica: the sentinels name $agreed"
		master=$agreed
	elif has_data; then
		say "master: the sentinels name this instance"
		master=$me
	else
		ask_peers
		if [ "$used" -gt 0 ]; then
			reason="the sentinels name this instance, but its volume is empty and a peer has data; waiting for a failover"
		elif [ "$seen" -lt $((MEMBERS - 1)) ]; then
			reason="the sentinels name this instance, but its volume is empty and not all peers say that theirs are"
		else
			say "master: the sentinels name this instance, and no instance has data yet"
			master=$me
		fi
	fi
}

# The first process of a container ignores what it does not handle.
trap 'exit 143' TERM INT
master='' last=''
while :; do
	reason=''
	decide
	[ -z "$master" ] || break
	if [ "$reason" != "$last" ]; then
		say "waiting: $reason"
		last=$reason
	fi
	sleep 1
done

# A disk that was full may leave an append-only file that no server loads. A replica gets all of it from its master anyway; on
# an instance that is named as the master, the server's refusal stands until another one is elected.
manifest=/data/appendonlydir/appendonly.aof.manifest
if [ "$master" != "$me" ] && [ -f "$manifest" ] && ! redis-check-aof "$manifest" >/dev/null 2>&1; then
	say "the append-only file is damaged: dropping it, the master has all of it"
	rm -rf /data/appendonlydir
fi

# Before the server reads them: what changes from here on is followed.
settings=$(sha256sum <"$config/redis.conf")
passwords=$(cat "$secrets"/* | sha256sum)
certificate=$(cat "$tls"/* | sha256sum)
login=$(cat "$secrets/sentinel")

# Sentinel rewrites the server's file, so the server gets a copy; the next start makes a new one.
(
	umask 077
	{
		cat "$config/restart.conf" "$config/redis.conf"
		echo "replica-announce-ip $me"
		printf 'masterauth "%s"\n' "$(sed 's/[\\"]/\\&/g' "$secrets/replication")"
		[ "$master" = "$me" ] || echo "replicaof $master 6379"
	} >/tmp/redis.conf
)
redis-server /tmp/redis.conf &
server=$!

# Hand the mastership over before this instance goes, so that a planned restart costs clients a second and not a failover.
# shellcheck disable=SC2329 # called by the trap
stop() {
	trap '' TERM INT
	if [ "$MEMBERS" -gt 1 ] && [ "$(ask 127.0.0.1 6379 ROLE | sed -n 1p)" = master ]; then
		hand_over || :
	fi
	kill -TERM "$server" 2>/dev/null || :
}

# shellcheck disable=SC2329 # called by the trap
hand_over() {
	peer=0
	while [ "$peer" -lt "$MEMBERS" ]; do
		if [ "$peer" != "$ordinal" ] &&
			REDISCLI_AUTH=$(cat "$secrets/sentinel") cli 3 sentinel "$(member "$peer")" -p 26379 \
				SENTINEL FAILOVER "$master_name" >/dev/null 2>&1; then
			say "asked the sentinel of redis-$peer for a failover"
			break
		fi
		peer=$((peer + 1))
	done
	tries=0
	while [ "$tries" -lt 20 ] && [ "$(ask 127.0.0.1 6379 ROLE | sed -n 1p)" = master ]; do
		tries=$((tries + 1))
		sleep 1
	done
}
trap stop TERM INT

# Act on the server of this pod with the password that it knows. Usage: act COMMAND...
act() {
	REDISCLI_AUTH=$login cli 5 sentinel 127.0.0.1 "$@"
}

apply_settings() {
	say "the settings changed: applying them"
	while read -r key value; do
		case $key in
		'' | '#'*) ;;
		*) act CONFIG SET "$key" "$value" >/dev/null </dev/null || say "could not set $key to $value" ;;
		esac
	done <"$config/redis.conf"
}

# The sentinels' old password stays good for a while: the sentinels elsewhere learn the new one later, and a master that they
# cannot ask any more is dead to them.
apply_passwords() {
	old=$login
	# The server knows the new password already where an earlier attempt got no further than this.
	if ! act ACL LOAD >/dev/null; then
		login=$(cat "$secrets/sentinel")
		act ACL LOAD >/dev/null || { login=$old && return 1; }
	fi
	login=$(cat "$secrets/sentinel")
	[ "$old" = "$login" ] || printf '>%s' "$old" | act -x ACL SETUSER sentinel >/dev/null || return 1
	# Loading ended the sentinels' connections. One that was back before its old password was good again would stay where it
	# is, without a login, for a minute, and take this server for dead.
	act CLIENT KILL USER default >/dev/null
	forget_at=$(($(date +%s) + 2 * ${SETTLE_SECONDS:-120}))
	printf '%s' "$(cat "$secrets/replication")" | act -x CONFIG SET masterauth >/dev/null
}

# Naming the files loads them again; all in one command, so that no certificate meets another one's key.
apply_certificate() {
	act CONFIG SET tls-cert-file "$tls/tls.crt" tls-key-file "$tls/tls.key" tls-ca-cert-file "$tls/ca.crt" >/dev/null
}

follow_settings() {
	forget_at=''
	while sleep "${WATCH_SECONDS:-5}"; do
		now=$(sha256sum <"$config/redis.conf")
		if [ "$now" != "$settings" ]; then
			apply_settings
			settings=$now
		fi
		now=$(cat "$tls"/* | sha256sum)
		if [ "$now" != "$certificate" ]; then
			# What the server has is known again when it took what did not change meanwhile.
			certificate=''
			if apply_certificate && [ "$(cat "$tls"/* | sha256sum)" = "$now" ]; then
				say "the certificate changed: applied"
				certificate=$now
			fi
		fi
		now=$(cat "$secrets"/* | sha256sum)
		if [ "$now" != "$passwords" ]; then
			passwords=''
			if apply_passwords; then
				say "the passwords changed: applied"
				passwords=$now
			fi
		fi
		if [ -n "$forget_at" ] && [ "$(date +%s)" -ge "$forget_at" ] && act ACL LOAD >/dev/null; then
			say "the old password of the sentinels is no longer good"
			forget_at=''
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
exit "$code"
