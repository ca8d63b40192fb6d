#!/bin/sh
# Write rows for ever and print those that were acknowledged. $1 the writer's name, $2 where it connects.
n=0
while :; do
	n=$((n + 1))
	# A commit whose wait for a standby was cancelled succeeds with a warning: nobody confirmed it.
	said=$(timeout 8 psql "$2" -XqAt -v ON_ERROR_STOP=1 -c "INSERT INTO ledger VALUES ('$1', $n) RETURNING writer, id" 2>&1)
	case "$said" in
	"$1|$n") echo "$said" ;;
	*) sleep 0.1 ;;
	esac
done
