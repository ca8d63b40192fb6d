#!/bin/sh
# Decide what this instance is before its server starts: a standby, the primary, or neither yet.
#
# The decision comes from the data directory and from the peers' state, never from the ordinal alone: a primary that
# was replaced while it was away comes back as a standby. The primary's ordinal in the settings breaks the tie when
# no peer is the primary. Ends with 0 when the server may start; waits while the answer may still come; ends with 1
# when only an operator can decide.
set -eu
# An inherited PGOPTIONS would leak into the connections below.
unset PGOPTIONS
# shellcheck source=components/postgres/scripts/lib.sh
. "${0%/*}/lib.sh"
# What an instance that sees not all of its peers waits for before it goes on without them.
rounds_without_peers=3
# How long a new database is not made for want of a peer: a node's network policy learns of a pod after its start (X-71), and a
# peer that has all the data may be there.
alone_seconds=${ALONE_SECONDS:-20}
began=$(date +%s)

refuse() {
	say "refused: $*"
	exit 1
}

# Ask every peer. Sets alive (peers that run, even if they reject connections), primary and primary_timeline (the newest one's
# host and timeline), system (its identifier) and timeline (the highest).
ask_peers() {
	alive=0 primary='' primary_timeline=0 system='' timeline=0
	peer=0
	while [ "$peer" -lt "$MEMBERS" ]; do
		[ "$peer" = "$ordinal" ] || ask_peer "$(member "$peer")"
		peer=$((peer + 1))
	done
}

ask_peer() {
	state=0
	server_state "$1" || state=$?
	# 0 accepts connections, 1 rejects them while it starts or recovers: both have data.
	[ "$state" -le 1 ] || return 0
	alive=$((alive + 1))
	answer=$(psql "host=$1 user=$replication_role replication=true connect_timeout=5 $proven" --no-psqlrc -qAt \
		-c 'SHOW in_hot_standby' -c IDENTIFY_SYSTEM 2>"$PGPASSFILE.error") || {
		[ "$state" -eq 1 ] || may_be_the_primary "$1"
		return 0
	}
	recovering=$(echo "$answer" | sed -n 1p)
	its_system=$(echo "$answer" | sed -n 2p | cut -d'|' -f1)
	its_timeline=$(echo "$answer" | sed -n 2p | cut -d'|' -f2)
	if [ -n "$system" ] && [ "$its_system" != "$system" ]; then
		refuse "$1 has system identifier $its_system, another peer has $system. Find out which data is right first"
	fi
	system=$its_system
	[ "$its_timeline" -le "$timeline" ] || timeline=$its_timeline
	if [ "$recovering" = off ]; then
		[ "$its_timeline" -ne "$primary_timeline" ] ||
			refuse "both $primary and $1 accept writes on timeline $its_timeline. Stop the one that must not"
		# A replaced primary that has not noticed yet is on an older timeline.
		[ "$its_timeline" -lt "$primary_timeline" ] || primary=$1 primary_timeline=$its_timeline
	fi
}

# Sets silent to a peer that lets others in, and may be the primary although it did not say so. A primary takes over a changed
# password within the two minutes that the kubelets need to deliver it, a standby without a primary never.
may_be_the_primary() {
	if grep -q 'password authentication failed' "$PGPASSFILE.error" &&
		[ $(($(date +%s) - began)) -ge "${SETTLE_SECONDS:-120}" ]; then
		return
	fi
	silent="$1 ($(tail -n 1 "$PGPASSFILE.error"))"
}

control() {
	pg_controldata "$PGDATA" | sed -n "s/^$1: *//p"
}

# This instance's own timeline. After a promotion the control file names the old one until the next checkpoint ends, but the
# history of the new one is there from the start.
own_timeline() {
	newest=$(control "Latest checkpoint's TimeLineID")
	for history in "$PGDATA"/pg_wal/*.history; do
		[ -e "$history" ] || continue
		of=${history##*/}
		of=$((0x${of%.history}))
		[ "$of" -le "$newest" ] || newest=$of
	done
	echo "$newest"
}

become_standby() {
	# Slots of an earlier life would hold back WAL that nobody will ask for.
	rm -rf "$PGDATA"/pg_replslot/*
	touch "$PGDATA/standby.signal"
	rm -f "$PGDATA.stepped-down"
}

# The data directory appears under its name whole or not at all.
clone() {
	say "cloning from $primary: $1"
	rm -rf "$PGDATA.tmp"
	pg_basebackup --dbname="host=$primary user=$replication_role $verified" --no-password --pgdata="$PGDATA.tmp" \
		--wal-method=stream --checkpoint=fast --slot="postgres_$ordinal" >&2 || return 0
	touch "$PGDATA.tmp/standby.signal"
	# What a clone or a rewind took over is on the primary's timeline already; a replaced one has no WAL of it to be confirmed.
	rm -f "$bound"
	mv "$PGDATA.tmp" "$PGDATA"
	decided=yes
}

bootstrap() {
	say "creating a new, empty database: no peer runs, this is the primary's ordinal and allowBootstrap is true"
	rm -rf "$PGDATA.tmp"
	# The C locale orders text alike in every libc, so no image change can corrupt an index.
	initdb --pgdata="$PGDATA.tmp" --username="$ADMIN" --pwfile="$secrets/admin" --auth=scram-sha-256 --data-checksums \
		--locale=C --encoding=UTF8 >&2
	# On the socket alone, so that nobody meets a half-made database.
	pg_ctl --pgdata="$PGDATA.tmp" --wait --silent --log="$PGDATA.tmp/bootstrap.log" start --options="\
		-c config_file=$config/postgresql.conf -c listen_addresses='' -c synchronous_standby_names=''" >&2 ||
		{ cat "$PGDATA.tmp/bootstrap.log" >&2; exit 1; }
	psql --no-psqlrc --quiet --host=/var/run/postgresql --username="$ADMIN" --dbname=postgres --set=database="$DATABASE" \
		--file="$config/bootstrap.sql" >&2
	# Whoever connects first finds the passwords there.
	reconcile
	pg_ctl --pgdata="$PGDATA.tmp" --wait --silent --mode=fast stop >&2
	rm "$PGDATA.tmp/bootstrap.log"
	mv "$PGDATA.tmp" "$PGDATA"
	decided=yes
}

# Bring a former primary back to where the present one left off.
rewind() {
	if [ "$primary_timeline" -eq "$my_timeline" ]; then
		[ "$ordinal" != "$PRIMARY_ORDINAL" ] ||
			refuse "$primary accepts writes on timeline $my_timeline, which this instance began too. Stop the one that must not"
		# pg_rewind takes two promotions that gave one timeline its number for the same history.
		set_aside "$primary is the primary on timeline $primary_timeline, which this instance had begun too"
		return
	fi
	say "$primary is the primary now: rewinding this former primary to follow it"
	source="host=$primary user=$replication_role dbname=postgres connect_timeout=5 $verified"
	# Without a checkpoint after its promotion the new primary's control file still names the old timeline, and pg_rewind
	# wrongly finds nothing to do. https://www.postgresql.org/docs/15/app-pgrewind.html
	psql "$source" --no-psqlrc --quiet -c CHECKPOINT || return 0
	touch "$PGDATA.rewinding"
	if pg_rewind --target-pgdata="$PGDATA" --source-server="$source" --config-file="$config/postgresql.conf" >&2; then
		become_standby
		rm -f "$bound"
		rm "$PGDATA.rewinding"
		decided=yes
	else
		set_aside "pg_rewind failed"
	fi
}

# A directory that a rewind left half changed is kept, not deleted, while the volume has room for a clone beside it.
set_aside() {
	[ ! -e "$PGDATA.diverged" ] || refuse "$1, and $PGDATA.diverged is there already. Save or delete it, then restart the pod"
	used=$(du -sk "$PGDATA" | cut -f1)
	free=$(df -Pk "$PGDATA" | sed -n 2p | tr -s ' ' | cut -d' ' -f4)
	[ "$free" -gt "$used" ] || refuse "$1, and the volume has no room to keep $PGDATA beside a clone. Save and delete it, then restart the pod"
	say "$1: keeping the old data as $PGDATA.diverged"
	mv "$PGDATA" "$PGDATA.diverged"
	rm -f "$PGDATA.rewinding"
}

# These two set decided when the server may start, and reason otherwise. Their status means nothing: a caller that tested
# it would switch off `set -e` in them.
decide_with_data() {
	mine=$(control 'Database system identifier')
	[ -z "$system" ] || [ "$mine" = "$system" ] ||
		refuse "this volume has system identifier $mine, the peers have $system. It is another database's volume"
	if [ -f "$PGDATA/standby.signal" ]; then
		say "standby: its data says so${primary:+, and $primary is the primary}"
		# One on a newer timeline than this instance's was promoted while it was away.
		[ "$primary_timeline" -le "$(own_timeline)" ] || bind_to "$primary"
		become_standby
		decided=yes
		return
	fi
	my_timeline=$(own_timeline)
	# One on an older timeline has been replaced, by this instance or before it.
	[ "$primary_timeline" -ge "$my_timeline" ] || primary=''
	if [ -n "$primary" ]; then
		reason="$primary is the primary, and following it did not work yet"
		rewind
		return
	fi
	if [ -e "$PGDATA.stepped-down" ]; then
		say "standby: it has stepped down for another primary"
		become_standby
		decided=yes
		return
	fi
	if [ "$timeline" -gt "$my_timeline" ]; then
		reason="a peer is on timeline $timeline, this former primary on $my_timeline; waiting for the primary that was promoted"
	elif [ "$ordinal" != "$PRIMARY_ORDINAL" ]; then
		reason="this was the primary, but the settings name postgres-$PRIMARY_ORDINAL; waiting for it"
	elif [ -n "$silent" ]; then
		reason="$silent runs and does not say whether it is the primary"
	elif [ "$alive" -eq $((MEMBERS - 1)) ] || [ "$round" -ge "$rounds_without_peers" ]; then
		say "primary: no peer is, the settings name this instance, and no peer is ahead ($alive of $((MEMBERS - 1)) peers seen)"
		decided=yes
	else
		reason="not all peers answer yet"
	fi
}

decide_without_data() {
	if [ -n "$primary" ]; then
		reason="the clone did not work yet"
		clone "this volume is empty"
		return
	fi
	if [ "$alive" -gt 0 ]; then
		reason="this volume is empty and a peer has data, but none is the primary; waiting for one"
	elif [ "$ordinal" != "$PRIMARY_ORDINAL" ]; then
		reason="this volume is empty; waiting for the primary, postgres-$PRIMARY_ORDINAL"
	elif [ "$ALLOW_BOOTSTRAP" != true ]; then
		reason="this volume is empty, no peer runs and allowBootstrap is false; waiting for a peer with data"
	elif [ "$MEMBERS" -eq 1 ] || [ $(($(date +%s) - began)) -ge "$alone_seconds" ]; then
		bootstrap
	else
		reason="this volume is empty and no peer runs; making sure of it"
	fi
}

# Asked by the container of a running server: whether a primary has been promoted that this instance does not know, and which.
# One on a standby's own timeline may be the one that it must not confirm anything to.
if [ "${1:-}" = superseded ]; then
	read_cluster
	ask_peers
	[ ! -f "$PGDATA/standby.signal" ] || primary_timeline=$((primary_timeline - 1))
	[ "$primary_timeline" -gt 0 ] && [ "$primary_timeline" -ge "$(own_timeline)" ] && echo "$primary"
	exit
fi

# No server runs in this container yet. One that was killed has left its process number, by which the next one would take any
# process of that number for it, and give up: numbers begin anew with a container, and come again.
rm -f "$PGDATA/postmaster.pid" /var/run/postgresql/.s.PGSQL.*.lock

# The first process of a container ignores what it does not handle.
trap 'exit 143' TERM INT
round=0 last=''
while :; do
	read_cluster
	write_pgpass
	silent=''
	ask_peers
	reason='' decided=''
	if [ -e "$PGDATA.rewinding" ] && [ -n "$primary" ]; then
		set_aside "a rewind was cut short"
	fi
	if [ -e "$PGDATA.rewinding" ]; then
		reason="a rewind was cut short; waiting for a primary to clone from"
	elif [ -s "$PGDATA/PG_VERSION" ]; then
		decide_with_data
	else
		decide_without_data
	fi
	if [ -n "$decided" ]; then
		# Every session of the server would log, at each reload, that it is not there.
		[ -e "$bound" ] || : >"$bound"
		exit 0
	fi
	if [ "$reason" != "$last" ]; then
		say "waiting: $reason"
		last=$reason
	fi
	round=$((round + 1))
	sleep 2
done
