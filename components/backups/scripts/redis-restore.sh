#!/bin/sh
# Put the keys of a backup into the live Redis. Without EXECUTE=yes it says what it would do and changes nothing.
#
# A server of this pod's own reads the snapshot and writes it out as commands, which the live master takes from the
# application's user like any others: its append-only file and its replicas follow by themselves. (A server that keeps an
# append-only file would not even look at a snapshot put into its directory.)
# Refused while the live Redis holds keys, unless OVERWRITE=yes: then all of them go first. BACKUP=name: another set
# than the newest that holds anything.
set -eu
# shellcheck source=components/backups/scripts/lib.sh
. "${0%/*}/lib.sh"
# shellcheck source=components/backups/scripts/redis-lib.sh
. "${0%/*}/redis-lib.sh"

backup=${BACKUP:-$(newest_filled)}
[ -n "$backup" ] && [ -d "$backups/$backup" ] ||
	fail 2 "no backup ${backup:-at all}. Fix: one of: $(sets | tr '\n' ' ')"
verify "$backups/$backup"
await_server
say "backup: $backup, of $(date -u -d "@$(timestamp "$backup")" '+%F %T') UTC, verified"
[ -n "${BACKUP:-}" ] || say_passed_over "$backup"
live=$(ask DBSIZE)
say "live Redis at $REDIS_HOST: $live keys"
say "plan: replace them by the keys of $backup, $(cat "$backups/$backup/keys") less those that have expired since"
[ "$live" = 0 ] || [ "${OVERWRITE:-}" = yes ] || fail 2 "the live Redis holds keys. Fix: add --overwrite to replace them"
[ "${EXECUTE:-}" = yes ] || { say "dry run: nothing was changed. Fix: add --execute" && exit 0; }

serve_copy "$backups/$backup/dump.rdb"
commands=$(written_as_commands)
wanted=$(own DBSIZE)
cursor=0
while :; do
	# In the server, since a key may hold any byte.
	cursor=$(ask EVAL "local found = redis.call('SCAN', ARGV[1], 'COUNT', 1000)
		if #found[2] > 0 then redis.call('UNLINK', unpack(found[2])) end
		return found[1]" 0 "$cursor")
	[ "$cursor" != 0 ] || break
done
redis-cli --no-auth-warning --tls --cacert "$REDIS_AUTHORITY" --user "$REDIS_USER" -h "$REDIS_HOST" --pipe <"$commands" >&2 ||
	fail 1 "not every key was written. Fix: see the reason above, and run it again with --overwrite"
say "restored: $(ask DBSIZE) keys are live, $wanted were in $backup"
[ "$(ask DBSIZE)" -ge "$wanted" ] || fail 1 "keys are missing; some may have expired meanwhile"
