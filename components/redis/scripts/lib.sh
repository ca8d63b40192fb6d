# shellcheck shell=sh disable=SC2034
# Shared by the scripts of a Redis pod. Sourced, never run.
config=/etc/redis
secrets=/etc/redis-secrets
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

# Ask a server or a sentinel as the user that may look and do nothing; its password is no secret.
# Usage: ask HOST PORT COMMAND...
ask() {
	host=$1 port=$2
	shift 2
	REDISCLI_AUTH=health timeout 3 redis-cli --no-auth-warning --user health -h "$host" -p "$port" -e "$@" 2>/dev/null
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
