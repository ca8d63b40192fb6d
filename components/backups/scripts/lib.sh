# shellcheck shell=sh disable=SC2154
# Shared by the jobs around backups. Sourced, never run.
#
# A backup is a set: a directory named by its time in UTC. Under that name it is whole, checksummed and has been read back;
# everything unfinished has a name that begins with a dot, and counts for nothing. The jobs set $kind: postgres, redis or
# postgres-base.
backups=${BACKUPS:-/backups}
reports=${REPORTS:-$backups/reports}

say() {
	echo "$(date -u +%FT%TZ) ${0##*/}: $*" >&2
}

# Usage: fail STATUS WORDS... The statuses: 1 it did not work, 2 refused, 3 another one runs, 4 no room.
fail() {
	status=$1
	shift
	say "failed: $*"
	exit "$status"
}

# Names of the sets, oldest first.
sets() {
	for set in "$backups"/[0-9]*T[0-9]*Z; do
		[ ! -d "$set" ] || echo "${set##*/}"
	done
}

newest() {
	sets | tail -n 1
}

# The newest set that holds anything, or the newest: a new cluster backs up its empty database by schedule before anybody
# restores it. Calls is_empty DIRECTORY, which each kind of backup defines.
newest_filled() {
	for set in $(sets | sort -r); do
		is_empty "$backups/$set" || { echo "$set" && return; }
	done
	newest
}

# Usage: say_passed_over SET, which was chosen and not named.
say_passed_over() {
	[ "$1" = "$(newest)" ] || say "passed over: every backup after it, since they hold nothing"
}

size_kib() {
	du -sk "$1" | cut -f1
}

free_kib() {
	df -Pk "$1" | sed -n 2p | tr -s ' ' | cut -d' ' -f4
}

# Start a set in $partial. The lock is the kernel's: it goes with the process, however that ends.
begin() {
	[ -d "$backups" ] || fail 1 "$backups is no directory. Fix: mount the volume of the backups there"
	exec 9>"$backups/.lock"
	flock -n 9 || fail 3 "another run uses this volume. Fix: wait until it ends, or delete its pod"
	umask 077
	rm -rf "$backups"/.partial.* "$backups"/.pruned.*
	started=$(date +%s)
	name=$(date -u +%Y%m%dT%H%M%SZ)
	partial=$backups/.partial.$name
	trap 'report "$?"' EXIT
	trap 'exit 143' TERM INT
	mkdir "$partial"
}

# Refuse a run that has no room. Usage: reserve BYTES, which stand for the size as long as there is no set to go by.
reserve() {
	last=$(newest)
	if [ -n "$last" ]; then
		needed=$(($(size_kib "$backups/$last") * 13 / 10))
	else
		needed=$(($1 / 1024))
	fi
	needed=$((needed + 1024))
	free=$(free_kib "$backups")
	[ "$free" -ge "$needed" ] ||
		fail 4 "the volume has $free KiB free and a backup needs $needed. Fix: lower backups.keep, or free the node's disk"
}

# Checksums first, and everything is read back after that: what was damaged on its way to the disk does not count.
# Calls read_back DIRECTORY, which each kind of backup defines.
finish() {
	sums=$(cd "$partial" && sha256sum ./*)
	printf '%s\n' "$sums" >"$partial/SHA256SUMS"
	sync
	verify "$partial"
	mv "$partial" "$backups/$name"
	sync
	prune
}

# Usage: verify DIRECTORY
verify() {
	# Side by side: both read all of it.
	(cd "$1" && sha256sum -c SHA256SUMS) >/dev/null &
	summing=$!
	readable=yes
	read_back "$1" || readable=''
	wait "$summing" || fail 1 "${1##*/} does not have its checksums: it is damaged"
	[ -n "$readable" ] || fail 1 "${1##*/} cannot be read to its end: it is damaged"
}

# Only ever called when a newer set is there. A set that is being deleted has lost its name first.
prune() {
	excess=$(($(sets | wc -l) - KEEP))
	[ "$excess" -gt 0 ] || return 0
	sets | sed -n "1,${excess}p" | while read -r old; do
		mv "$backups/$old" "$backups/.pruned.$old"
		rm -rf "$backups/.pruned.$old"
		say "removed $old: $KEEP newer ones are kept"
	done
}

# Usage: gauge NAME VALUE HELP
gauge() {
	printf '# HELP %s %s\n# TYPE %s gauge\n%s{kind="%s"} %s\n' "$1" "$3" "$1" "$1" "$kind" "$2"
}

# What monitoring reads, in the text format of Prometheus, and one line for whoever reads the log. Usage: report STATUS
report() {
	rm -rf "$partial"
	last=$(newest)
	success=0
	[ "$1" -ne 0 ] || success=1
	size=0
	[ -z "$last" ] || size=$(($(size_kib "$backups/$last") * 1024))
	seconds=$(($(date +%s) - started))
	{
		gauge gx_backup_last_run_success "$success" "1 when the last run made a backup that counts."
		gauge gx_backup_last_run_timestamp_seconds "$started" "Start of the last run."
		gauge gx_backup_last_run_duration_seconds "$seconds" "Length of the last run."
		gauge gx_backup_newest_timestamp_seconds "$(timestamp "$last")" "Time of the newest backup that counts; 0 without one."
		gauge gx_backup_newest_size_bytes "$size" "Size of the newest backup that counts."
		gauge gx_backup_sets "$(sets | wc -l)" "Backups that count."
	} | publish backup || :
	if [ "$success" = 1 ]; then
		say "$last is good: $size bytes in $seconds s, $(sets | wc -l) are kept"
	else
		say "no backup was made; the newest good one is ${last:-none}"
	fi
}

# Start a restore test of the newest set, in $tested; its result is reported whatever happens.
begin_test() {
	started=$(date +%s)
	took=0
	tested=$(newest)
	trap 'report_test "$?"' EXIT
	trap 'exit 143' TERM INT
	[ -n "$tested" ] || fail 1 "there is no backup. Fix: look at the job $kind-backup"
}

# Usage: report_test STATUS
report_test() {
	success=0
	[ "$1" -ne 0 ] || success=1
	{
		gauge gx_restore_test_success "$success" "1 when the newest backup was restored and everything was as recorded."
		gauge gx_restore_test_timestamp_seconds "$started" "Start of the last restore test."
		gauge gx_restore_test_duration_seconds "$(($(date +%s) - started))" "Length of the last restore test."
		gauge gx_restore_test_restore_seconds "$took" "Length of the restore in it; 0 when it failed."
		gauge gx_restore_test_backup_timestamp_seconds "$(timestamp "$tested")" "Time of the backup that was tested."
	} | publish restore-test || :
}

# Replace what monitoring reads of a kind of job, whole or not at all. Usage: publish NAME
publish() {
	mkdir -p "$reports"
	cat >"$reports/$1.new" && mv "$reports/$1.new" "$reports/$1.prom"
}

# Unix time of a set's name. Usage: timestamp NAME
timestamp() {
	[ -n "$1" ] || { echo 0 && return; }
	date -u -d "$(echo "$1" | sed 's/^\(....\)\(..\)\(..\)T\(..\)\(..\)\(..\)Z$/\1-\2-\3 \4:\5:\6/')" +%s
}
