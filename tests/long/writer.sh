#!/bin/sh
# Write rows for ever and print those that were acknowledged. The kubelet's log tells when.
# WRITER its name, INSTANCES the ordinals it connects to, whichever accepts writes, SYNCHRONOUS_COMMIT, PAUSE in seconds.
set -u

# A client on the wrong side of a cut network has no DNS any more, and an open connection needs none.
address() {
	found=$(timeout 2 getent ahostsv4 "$1" | head -n 1 | cut -d' ' -f1)
	[ -z "$found" ] || echo "$found" >"/tmp/$1"
	cat "/tmp/$1" 2>/dev/null
}

n=0
while :; do
	n=$((n + 1))
	hosts='' addresses=''
	for ordinal in $INSTANCES; do
		host=postgres-$ordinal.postgres-headless
		hosts=$hosts${hosts:+,}$host
		addresses=$addresses${addresses:+,}$(address "$host")
	done
	where="host=$hosts hostaddr=$addresses user=gx_owner dbname=gx_protocol sslmode=require target_session_attrs=read-write connect_timeout=2"
	# The interrupt cancels a commit that waits for a standby. It then succeeds with a warning: nobody confirmed it.
	patience=$(($(od -An -N1 -tu1 /dev/urandom) % 5 + 1))
	said=$(PGOPTIONS="-c synchronous_commit=$SYNCHRONOUS_COMMIT" timeout -s INT -k 5 "$patience" psql "$where" -XqAt \
		-c "INSERT INTO faults.ledger VALUES ('$WRITER', $n) RETURNING writer, number, current_setting('cluster_name')" 2>&1)
	case "$said" in
	"$WRITER|$n|postgres-"[0-9]) echo "$said" ;;
	esac
	sleep "$PAUSE"
done
