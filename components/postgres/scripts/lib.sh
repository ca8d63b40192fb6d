# shellcheck shell=sh disable=SC2034
# Shared by the scripts of a Postgres container. Sourced, never run.
config=/etc/postgresql
secrets=/etc/postgresql-secrets
tls=/etc/postgresql-tls
# For connections that carry data: to the server of that name alone, as the authority says.
verified="sslmode=verify-full sslrootcert=$tls/ca.crt"
# For questions about a peer's state, which a certificate that has ended must not leave unanswered: a primary that nobody sees
# is two primaries. SCRAM, bound to the connection, proves that the other end knows the password, and never shows it.
proven="sslmode=require channel_binding=require"
replication_role=gx_replication
ordinal=${POD_NAME##*-}
# Made by failover.follow: the one primary that this standby may receive from.
bound="${PGDATA:+${PGDATA%/*}/follow.conf}"

say() {
	echo "$(date -u +%FT%TZ) ${0##*/} $POD_NAME: $*" >&2
}

# The settings as they are now: the mounted file changes while the container runs.
read_cluster() {
	# shellcheck source=/dev/null
	. "$config/cluster.env"
}

member() {
	echo "postgres-$1.postgres-headless"
}

# Have this standby receive from one primary and no other, as failover.follow does from outside. Unbound it takes whichever
# accepts writes, which may be one that has been replaced and does not know it yet: what it then confirms is lost.
# Usage: bind_to HOST
bind_to() {
	sed -n "/^primary_conninfo = /s/host=[^ ']*/host=$1/p" "$config/postgresql.conf" >"$bound.new"
	mv "$bound.new" "$bound"
}

# Slot names of every instance but this one.
peer_slots() {
	n=0
	while [ "$n" -lt "$MEMBERS" ]; do
		[ "$n" = "$ordinal" ] || printf 'postgres_%s ' "$n"
		n=$((n + 1))
	done
}

# Bring slots and passwords of the server in this container in line with the settings and the mounted Secret.
reconcile() {
	psql --no-psqlrc --quiet --host=/var/run/postgresql --username="$ADMIN" --dbname=postgres \
		--set=slots="$(peer_slots)" --set=admin="$ADMIN" --file="$config/reconcile.sql" >&2
}

# The replication password for libpq; ':' and '\' are special there.
# https://www.postgresql.org/docs/15/libpq-pgpass.html
write_pgpass() {
	(
		umask 077
		printf '*:*:*:%s:%s\n' "$replication_role" "$(sed 's/[\\:]/\\&/g' "$secrets/replication")" >"$PGPASSFILE.new"
		mv "$PGPASSFILE.new" "$PGPASSFILE"
	)
}

# 0 the server accepts connections, 1 it rejects them, 2 it does not answer in some seconds. Asks as a role that may connect:
# the server logs every other one.
server_state() {
	pg_isready --quiet --host="$1" --username="${3:-$replication_role}" --dbname=postgres --timeout="${2:-3}"
}
