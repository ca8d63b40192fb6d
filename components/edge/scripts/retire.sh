#!/bin/bash
# Ends what a stack has started on a node that leaves it: its site and its health monitor, and Nginx when it has nothing
# else to serve. Certificates with their renewal, logs, backups and the files of others stay.
#   retire.sh <directory with settings.env> [check]
# With "check" it says what it would end, and ends nothing.
set -euo pipefail

wanted=$(realpath "$1")
# shellcheck disable=SC1091 # written by the program
source "$wanted/settings.env"
# shellcheck source=components/edge/scripts/lib.sh
source "$wanted/lib.sh"
: "${STACK:?}" "${SITE:?}" "${MONITOR:?}"

look=${2:-}
site=/etc/nginx/conf.d/$SITE.conf
monitor_files=(
    "/etc/systemd/system/$MONITOR.timer" "/etc/systemd/system/$MONITOR.service" "/etc/cron.d/$MONITOR"
    "/etc/gx-health-monitor/$MONITOR.conf" "/etc/gx-health-monitor/$MONITOR.secrets"
)
state=/var/lib/gx-edge/$MONITOR
# A node that stays in the cluster would report for ever what its monitor saw last.
metrics=/var/lib/prometheus/node-exporter/$MONITOR.prom

fail() {
    echo "retire: $1" >&2
    exit 1
}

# ends <what is said of it> <command>...
ends() {
    echo "${look:+would end }$1"
    [[ -n $look ]] || "${@:2}"
}

# What Nginx serves besides: sites of other stacks, and of others than the program.
others() {
    find -L /etc/nginx/conf.d /etc/nginx/sites-enabled -mindepth 1 -type f ! -path "$site" \
        ! -path /etc/nginx/conf.d/00-gx-host.conf 2>/dev/null
}

end_monitor() {
    if with_systemd; then
        systemctl --quiet disable --now "$MONITOR.timer" 2>/dev/null || true # it may be gone in part
    fi
    # A run that is under way ends first, or it would write its metrics again.
    mkdir -p "$state"
    flock -w 60 "$state/lock" rm -rf "${monitor_files[@]}" "$metrics" "$state" ||
        fail "a run of $MONITOR does not end. Fix: look for it with ps, then again"
    ! with_systemd || systemctl daemon-reload
}

# Those of others must be served as before, or nothing changes.
end_site() {
    local problems target
    target=$(readlink "$site")
    rm "$site"
    if ! problems=$(nginx -t -q 2>&1); then
        ln -s "$target" "$site"
        fail "nothing was changed, for Nginx would not serve the other sites: $problems"
    fi
    rm -rf "/var/lib/gx-edge/$STACK.nginx"
    if with_systemd; then
        systemctl reload nginx
    elif nginx_runs; then
        nginx -s reload
    fi
}

# The site goes last: as long as it is there, what was cut short is run again.
end_nginx() {
    if with_systemd; then
        systemctl --quiet disable --now nginx
    elif nginx_runs; then
        nginx -s stop
    fi
    rm -rf "/var/lib/gx-edge/$STACK.nginx"
    rm -f "$site"
}

if [[ -z $look ]]; then
    exec 9>/run/lock/gx-edge.lock
    flock -w 120 9 || fail "a provisioning has held /run/lock/gx-edge.lock for 2 minutes. Fix: look for it with ps"
fi

# The site first: what others need of Nginx may stand in the way, and then nothing has changed.
if [[ -L $site ]] && [[ -n $(others) ]]; then
    ends "the site $SITE; Nginx goes on, for it serves others" end_site
elif [[ -L $site ]]; then
    ends "the site $SITE, and Nginx, which has no other" end_nginx
fi
for file in "${monitor_files[@]}"; do
    if [[ -e $file ]]; then
        ends "the health monitor $MONITOR" end_monitor
        break
    fi
done
echo "nothing ${look:+else }of $STACK runs here; certificates and files of others are as they were"
