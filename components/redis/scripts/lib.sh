# shellcheck shell=sh disable=SC2034
# Shared by the scripts of a Redis pod. Sourced, never run.
config=/etc/redis
secrets=/etc/redis-secrets
tls=/etc/redis-tls
master_name=gx
ordinal=${POD_NAME##*-}
# shellcheck source=/dev/null
. "$config/cluster.env"

say() {
	echo "$(date -u +%FT%TZ) ${0##*/} $POD_NAME: $*" >&2
}

member() {
	echo "redis-$1.redis-headless.$NAMESPACE.svc.cluster.local"
}

# redis-cli as a user with the password in REDISCLI_AUTH. This pod's own server is not verified: nobody else listens on the
# loopback, and a certificate that has ended must neither fail a probe nor keep the next one from being loaded.
# Usage: cli SECONDS USER HOST ARGUMENT...
cli() {
	seconds=$1 user=$2 at=$3
	shift 3
	trust="--cacert $tls/ca.crt"
	[ "$at" != 127.0.0.1 ] || trust=--insecure
	# shellcheck disable=SC2086 # two words
	timeout "$seconds" redis-cli --no-auth-warning --tls $trust --user "$user" -h "$at" -e "$@"
}

# Ask a server or a sentinel as the user that may look and do nothing; its password is no secret.
# Usage: ask HOST PORT COMMAND...
ask() {
	host=$1 port=$2
	shift 2
	REDISCLI_AUTH=health cli 3 health "$host" -p "$port" "$@" 2>/dev/null
}

# Sets agreed to the master that a majority of all sentinels names, or to nothing.
ask_sentinels() {
	agreed='' names=''
	peer=0
	while [ "$peer" -lt "$MEMBERS" ]; do
		names="$names$(ask "$(member "$peer")" 26379 SENTINEL get-master-addr-by-name "$master_name" | sed -n 1p)
"
		peer=$((peer + 1))
	done
	most=$(printf '%s' "$names" | grep . | sort | uniq -c | sort -rn | sed -n '1s/^ *//p')
	[ -z "$most" ] || [ "${most%% *}" -lt "$QUORUM" ] || agreed=${most#* }
}
