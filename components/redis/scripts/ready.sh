#!/bin/sh
# Whether this instance can serve: it is the master, or a replica that is connected to it.
set -eu
role=$(REDISCLI_AUTH=health redis-cli --no-auth-warning --tls --insecure --user health -e ROLE)
case $(echo "$role" | sed -n 1p) in
master) ;;
slave) [ "$(echo "$role" | sed -n 4p)" = connected ] ;;
*) exit 1 ;;
esac
