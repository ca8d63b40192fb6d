#!/bin/bash
# Installs the health monitor and runs it on its schedule.
#   monitor.sh <directory with settings.env and the monitor's files>
set -euo pipefail

wanted=$(realpath "$1")
# shellcheck disable=SC1091 # written by the program
source "$wanted/settings.env"
: "${NAME:?}" "${INTERVAL_SECONDS:?}"

program=/usr/local/bin/gx-health-monitor
settings=/etc/gx-health-monitor/$NAME.conf

install -D -m 0755 "$wanted/gx-health-monitor.sh" "$program"
install -D -m 0644 "$wanted/monitor.conf" "$settings"
install -D -m 0644 "$wanted/logrotate.conf" "/etc/logrotate.d/$NAME"

if [[ -d /run/systemd/system ]]; then
    install -m 0644 "$wanted/monitor.service" "/etc/systemd/system/$NAME.service"
    install -m 0644 "$wanted/monitor.timer" "/etc/systemd/system/$NAME.timer"
    systemctl daemon-reload
    systemctl --quiet enable "$NAME.timer"
    systemctl restart "$NAME.timer"
    echo "$NAME runs every $INTERVAL_SECONDS s by systemd"
else
    minutes=$(((INTERVAL_SECONDS + 59) / 60))
    printf '*/%s * * * * root %s %s\n' "$minutes" "$program" "$settings" >"/etc/cron.d/$NAME"
    pgrep -x cron >/dev/null || service cron start
    echo "$NAME runs every $minutes min by cron: there is no systemd"
fi
