#!/bin/sh
# Make $TARGET the primary without losing a commit that a quorum has acknowledged; the Job of a switchover and of a failover.
#
# Each round asks every instance for its state and takes one step, so that a second run goes on where the first one ended:
#   the target is the primary         see the standbys follow it, and end
#   another instance is the primary   when the target has nearly all of its WAL, have that one stop, come back as a standby
#   nobody is                         prove that nothing is lost, promote the most advanced, and go on from there
#
# Why nothing is lost. An acknowledged commit is on the disks of the primary and of at least one standby (ANY 1), so on two
# instances at least. When at most one instance does not answer, one of those two does, and whichever is the most advanced has
# the commit: a higher timeline was itself promoted from such a set, and on one timeline the higher position has all of the
# lower. That holds only if no acknowledgement comes after the comparison. So every standby is first bound to the instance that
# will be promoted, and is seen to receive from no other: an old primary that is alive, but not reached from here, finds no
# standby that confirms. It stays bound: with two primaries in sight it might try the old one for ever.
#
# Ends with 0 when the target is the primary, with 1 when it cannot be made so; the last line names the reason and the remedy.
set -eu
unset PGOPTIONS
# shellcheck source=components/postgres/scripts/lib.sh
. "${0%/*}/lib.sh"
role=gx_failover
patience=${PATIENCE_SECONDS:-60}
# How far behind a standby may be for a switchover: the rest is sent while the primary refuses writes.
behind_at_most=$((16 * 1024 * 1024))
# A primary that was told to step down is waited for this long before its place is taken without it.
stepping_down_seconds=60
# How long a primary that does not answer and still has standbys is taken for one that only this pod does not reach yet: a node's
# network policy learns of a pod after its start (X-71).
unheard_seconds=${UNHEARD_SECONDS:-3}

refuse() {
	say "refused: $*"
	exit 1
}

now() {
	date +%s
}

# What an instance answers; it fails when there is none within some seconds.
query() {
	timeout "${3:-10}" psql "host=$(member "$1") user=$role dbname=postgres connect_timeout=3 $proven" --no-psqlrc -qAt -c "$2" 2>&1
}

# Ask one instance. It is out when it does not answer, and deaf when it lets others in but not this role.
ask() {
	if ! server_state "$(member "$1")" 2 "$role"; then
		echo "$1 out"
	elif answer=$(query "$1" 'SELECT failover.status()'); then
		echo "$1 $answer"
	else
		echo "$1 deaf $(echo "$answer" | tail -n 1)"
	fi
}

# Ask some instances at once: those that are gone cost the time to give up once. Sets answers, a line for each instance.
look() {
	for n in "$@"; do
		answers=$(echo "$answers" | sed "/^$n /d")
	done
	answers=$(
		echo "$answers"
		for n in "$@"; do
			ask "$n" &
		done
		wait
	)
}

# A field of an instance's answer: 1 role, 2 system, 3 timeline, 4 position, 5 receives from, 6 bound to, 7 confirming standbys.
of() {
	echo "$answers" | sed -n "s/^$1 //p" | cut -d' ' -f"$2"
}

# Ordinals of the instances with a role.
all() {
	echo "$answers" | sed -n "s/^\([0-9]*\) $1.*/\1/p" | sort -n
}

names() {
	for each in "$@"; do
		printf '%s' "${comma:-}postgres-$each"
		comma=', '
	done
	comma=''
}

lsn() {
	printf '%X/%X' $(($1 >> 32)) $(($1 & 4294967295))
}

# The most advanced of some instances; of equals, the one named first.
most_advanced() {
	best=$1
	for each in "$@"; do
		if [ "$(of "$each" 3)" -gt "$(of "$best" 3)" ] ||
			{ [ "$(of "$each" 3)" -eq "$(of "$best" 3)" ] && [ "$(of "$each" 4)" -gt "$(of "$best" 4)" ]; }; then
			best=$each
		fi
	done
	echo "$best"
}

# Nothing can be done in this round. The same for too long is a refusal.
held='' since=0
hold() {
	[ -n "$held" ] || since=$(now)
	[ "$1" = "$held" ] || say "waiting: $1"
	held=$1
	[ $(($(now) - since)) -lt "$patience" ] || refuse "$1"
}

step() {
	say "$1"
	held=''
}

# Have one standby receive from another instance and from no other. One that has gone meanwhile shows in the next round.
bind() {
	[ "$(of "$1" 6)" = "$(member "$2")" ] || query "$1" "SELECT failover.follow('$(member "$2")')" >/dev/null || return 0
}

follows() {
	[ "$(of "$1" 5)" = "$(member "$2")" ] && [ "$(of "$1" 3)" -eq "$(of "$2" 3)" ]
}

# Whether the one instance that lets nobody in, as with a full disk, counts as gone: without a standby nobody waits for what it
# acknowledges. Several at once have a password that is not there yet.
deaf_for_long() {
	[ "$(echo "$deaf" | wc -l)" -eq 1 ] || return 1
	if [ "$deaf" != "$was_deaf" ]; then
		was_deaf=$deaf deaf_since=$(now)
	fi
	[ $(($(now) - deaf_since)) -ge "${DEAF_SECONDS:-5}" ]
}

finish() {
	timeline=$(of "$target" 3)
	waiting=''
	for n in $(all standby); do
		bind "$n" "$target"
		follows "$n" "$target" || waiting="$waiting $n"
	done
	# shellcheck disable=SC2086 # a list
	if [ -n "$waiting" ] && [ "$followed" -lt "$patience" ]; then
		[ "$followed" -gt 0 ] || say "postgres-$target is the primary; waiting for $(names $waiting) to follow it"
		followed=$((followed + 1))
		return
	fi
	query "$target" CHECKPOINT "$patience" >/dev/null || return 0
	count=$(of "$target" 7)
	if [ "$count" -eq 0 ]; then
		enough || refuse "postgres-$target accepts writes, but no standby confirms them, and $missing do not answer: another \
instance may have been promoted there. Bring all but one of them back, or accept the loss: postgres.acceptLoss: [$missing]"
		say "no standby confirms its commits yet: they wait until one does"
	fi
	say "done: postgres-$target is the primary on timeline $timeline, $count standbys confirm its commits"
	exit 0
}

switch_over() {
	if [ "$(of "$target" 1)" != standby ]; then
		hold "postgres-$target is no standby that answers. Start it, or name another instance in postgres.primaryOrdinal"
		return
	fi
	if [ "$stepping" = "$primary" ]; then
		[ $(($(now) - stepping_since)) -ge "$stepping_down_seconds" ] || return 0
		refuse "postgres-$primary was told to step down and still accepts writes. See its log, then run this again"
	fi
	for n in $(all standby); do
		bind "$n" "$primary"
	done
	if ! follows "$target" "$primary"; then
		hold "postgres-$target does not follow postgres-$primary yet. If it stays so, see its log or name another instance"
		return
	fi
	behind=$(($(of "$primary" 4) - $(of "$target" 4)))
	if [ "$behind" -gt "$behind_at_most" ]; then
		hold "postgres-$target is $((behind >> 20)) MiB behind postgres-$primary. Run this again when it has caught up"
		return
	fi
	step "switchover: postgres-$primary is the primary, postgres-$target follows it; postgres-$primary steps down"
	# What a checkpoint writes now is not written while nobody can write.
	query "$primary" CHECKPOINT "$patience" >/dev/null || return 0
	query "$primary" 'SELECT failover.step_down()' >/dev/null || return 0
	stepping=$primary stepping_since=$(now) told=''
}

# Whether those that do not answer cannot alone have an acknowledged commit, or are given up by name. Sets missing, their names.
enough() {
	# shellcheck disable=SC2046 # lists
	set -- $(all out)
	missing=$(names "$@")
	[ $# -gt 1 ] || return 0
	for n in "$@"; do
		case " $ACCEPT_LOSS " in *" postgres-$n "*) ;; *) return 1 ;; esac
	done
}

# Sets source to an instance that does not answer and that a standby receives from.
has_standbys() {
	for source in $(all out); do
		for n in $standbys; do
			[ "$(of "$n" 5)" != "$(member "$source")" ] || return 0
		done
	done
	return 1
}

fail_over() {
	standbys=$(all standby)
	if [ -n "$stepping" ] && [ $(($(now) - stepping_since)) -lt "$stepping_down_seconds" ] && [ "$(of "$stepping" 1)" = out ]; then
		[ -n "$told" ] || say "postgres-$stepping stops and comes back as a standby"
		told=yes
		return
	fi
	# shellcheck disable=SC2086 # lists, here and below
	if [ "$(of "$target" 1)" != standby ]; then
		hold "postgres-$target is no standby that answers. Start it, or name one that is: $(names $standbys)"
		return
	fi
	# shellcheck disable=SC2086
	best=$(most_advanced "$target" $standbys)
	if ! enough; then
		hold "$missing do not answer, and may alone have commits that were acknowledged. postgres-$best has all up to \
$(lsn "$(of "$best" 4)") of timeline $(of "$best" 3); what came after would be lost. Bring all but one of them back, or accept \
the loss: postgres.acceptLoss: [$missing]"
		return
	fi
	if has_standbys; then
		[ -n "$unheard" ] || say "postgres-$source does not answer, and a standby receives from it: looking for $unheard_seconds s more"
		[ -n "$unheard" ] || unheard=$(now)
		[ $(($(now) - unheard)) -ge "$unheard_seconds" ] || return 0
	fi
	for n in $standbys; do
		bind "$n" "$best"
	done
	# A receiver that had just been started for an old primary shows in the second look.
	for _ in 1 2; do
		sleep 1
		# shellcheck disable=SC2086
		look $standbys
		for n in $standbys; do
			if [ "$(of "$n" 6)" != "$(member "$best")" ] || { [ "$(of "$n" 5)" != - ] && [ "$(of "$n" 5)" != "$(member "$best")" ]; }; then
				hold "postgres-$n must receive from no other instance than postgres-$best, so that no old primary finds a standby"
				return
			fi
		done
	done
	# What came until then may have changed the order; the next round binds them to another.
	# shellcheck disable=SC2086
	[ "$(most_advanced "$best" $standbys)" = "$best" ] || return 0
	# shellcheck disable=SC2086
	step "no primary answers, $(names $standbys) do; promoting postgres-$best, which has the most: up to \
$(lsn "$(of "$best" 4)") of timeline $(of "$best" 3)"
	query "$best" "SELECT pg_promote(true, 60)" "$patience" >/dev/null || return 0
	# pg_rewind on what comes back needs the new timeline in the control file.
	query "$best" CHECKPOINT "$patience" >/dev/null || return 0
}

# shellcheck disable=SC2153 # from the environment
target=${TARGET##*-}
everyone=$(seq 0 $((MEMBERS - 1))) answers=''
stepping='' stepping_since=0 told='' followed=0 was_deaf='' deaf_since=0 unheard=''
say "to make postgres-$target the primary of $MEMBERS instances"
while :; do
	# shellcheck disable=SC2086 # a list
	look $everyone
	[ "$(echo "$answers" | grep -e ' standby ' -e ' primary ' | cut -d' ' -f3 | sort -u | wc -l)" -le 1 ] ||
		refuse "the instances have different system identifiers: not one database. Find out which data is right first"
	deaf=$(all deaf) primary='' replaced=''
	newest=$(echo "$answers" | grep -e ' standby ' -e ' primary ' | cut -d' ' -f4 | sort -n | tail -n 1)
	for n in $(all primary); do
		if [ "$(of "$n" 3)" -lt "$newest" ]; then
			replaced="$replaced $n"
		else
			[ -z "$primary" ] ||
				refuse "postgres-$n and postgres-$primary both accept writes on timeline $newest. Stop the one that must not"
			primary=$n
		fi
	done
	# A primary that was replaced while it was away finds the new one when it starts again.
	for n in ${primary:+$replaced}; do
		query "$n" 'SELECT failover.step_down()' >/dev/null || :
	done
	[ -n "$deaf" ] || was_deaf=''
	if [ -n "$deaf" ] && deaf_for_long; then
		answers=$(echo "$answers" | sed 's/^\([0-9]*\) deaf .*/\1 out/')
		deaf=''
	fi
	if [ -n "$deaf" ]; then
		# shellcheck disable=SC2086
		hold "$(names $deaf) runs and does not let $role in. Repair or stop it: $(echo "$answers" | sed -n 's/^[0-9]* deaf //p' | head -n 1)"
	elif [ -z "$primary" ]; then
		fail_over
	elif [ "$primary" = "$target" ]; then
		finish
	else
		switch_over
	fi
	sleep 1
done
