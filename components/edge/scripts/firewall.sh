#!/bin/bash
# Puts the host firewall in force and keeps it over a reboot, or leaves what was there.
#   firewall.sh <directory with settings.env, rules.nft and the unit> [check]
#
# A process that outlives the connection puts the previous rules back unless it is told, in time, that packets of the
# connection still arrive.
set -euo pipefail

wanted=$(realpath "$1")
# shellcheck disable=SC1091 # written by the program
source "$wanted/settings.env"
# shellcheck source=components/edge/scripts/lib.sh
source "$wanted/lib.sh"
: "${ROLLBACK_SECONDS:?}"

kept=/etc/gx-firewall/rules.nft
state=/var/lib/gx-edge
# The rules as the kernel lists them; differs from what it lists now when somebody changed them.
listed=$state/firewall.listed
pending=/run/gx-firewall.pending

fail() {
    echo "firewall: $1" >&2
    exit 1
}

list() {
    nft --stateless list table inet gx_firewall 2>/dev/null
}

ssh_packets() {
    nft list chain inet gx_firewall prerouting | sed -nE 's/.*counter packets ([0-9]+) .*comment "ssh".*/\1/p'
}

starts_at_boot() {
    if with_systemd; then
        cmp -s "$wanted/gx-firewall.service" /etc/systemd/system/gx-firewall.service &&
            systemctl --quiet is-enabled gx-firewall.service && systemctl --quiet is-active gx-firewall.service
    else
        [[ $(cat /etc/cron.d/gx-firewall 2>/dev/null) == "$boot_entry" ]]
    fi
}

start_at_boot() {
    if with_systemd; then
        install -m 0644 "$wanted/gx-firewall.service" /etc/systemd/system/gx-firewall.service
        systemctl daemon-reload
        # Active, or a restart of nftables.service would not bring it along.
        systemctl --quiet enable --now gx-firewall.service
    else
        echo "$boot_entry" >/etc/cron.d/gx-firewall
    fi
}

# Without the lock's descriptor and the connection's, which it has to outlive.
arm() {
    local token=$1
    echo "$token" >"$pending"
    # shellcheck disable=SC2016 # for the inner shell
    setsid bash -c '
        sleep "$1"
        [[ $(cat "$2" 2>/dev/null) == "$3" ]] || exit 0
        if [[ -s $4 ]]; then nft -f "$4"; else nft delete table inet gx_firewall; fi
        rm -f "$2"
        logger -t gx-firewall "rules were not confirmed; the previous ones are back" 2>/dev/null
    ' gx-firewall-rollback "$ROLLBACK_SECONDS" "$pending" "$token" "$kept" </dev/null >/dev/null 2>&1 9>&- &
    disown
}

# Output makes the other side acknowledge; the first rule counts what arrives.
still_connected() {
    local deadline=$((SECONDS + ROLLBACK_SECONDS / 2))
    until [[ $(ssh_packets) -gt 0 ]]; do
        ((SECONDS < deadline)) || return 1
        echo "waiting for the connection to pass the new rules"
        sleep 0.2
    done
}

boot_entry="@reboot root $(command -v nft) -f $kept"

if [[ ${2:-} == check ]]; then
    differs "$wanted/rules.nft" "$kept"
    if ! list >/dev/null; then
        drift "the table inet gx_firewall is not in force"
    elif [[ $(list) != $(cat "$listed" 2>/dev/null) ]]; then
        drift "the rules in force are not those that were loaded"
    fi
    starts_at_boot || drift "the rules are not loaded at boot"
    exit 0
fi

mkdir -p "$state" "$(dirname "$kept")"
exec 9>/run/lock/gx-edge-firewall.lock
flock -w 120 9 || fail "another provisioning has held /run/lock/gx-edge-firewall.lock for 2 minutes. Fix: look for it with ps"

if [[ ! -e $pending ]] && cmp -s "$wanted/rules.nft" "$kept" && [[ -s $listed && $(list) == $(cat "$listed") ]] &&
    starts_at_boot; then
    echo "the rules are in force already; nothing done"
    exit 0
fi

problems=$(nft --check -f "$wanted/rules.nft" 2>&1) || fail "refused by nft, nothing was changed: $problems"

arm "$$.$RANDOM"
nft -f "$wanted/rules.nft"
still_connected ||
    fail "no packet of this connection passed the new rules; the previous ones come back within $ROLLBACK_SECONDS s"
install -m 0644 "$wanted/rules.nft" "$kept.new"
mv -T "$kept.new" "$kept"
list >"$listed"
start_at_boot
rm -f "$pending"
echo "the rules are in force, and after a reboot"
