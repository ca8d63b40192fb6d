#!/bin/sh
# Prints what operations/preflight wants to know of a host, and changes nothing.
#   host.sh [address of another node …]
set -u

# Only root is told which program listens.
{ sudo -n ss -H -ltnp 2>/dev/null || ss -H -ltnp; } | sed 's/^/listen /'
printf 'proxy %s\n' "$(curl -fsS --max-time 3 http://127.0.0.1:10249/proxyMode 2>/dev/null)"
for address in "$@"; do
    {
        average=$(ping -n -q -c 3 -i 0.3 -W 2 "$address" 2>/dev/null | sed -n 's|^rtt [^=]*= [^/]*/\([^/]*\)/.*|\1|p')
        printf 'rtt %s %s\n' "$address" "$average"
    } &
done
wait
