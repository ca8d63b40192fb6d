#!/bin/bash
# Asks every region for /health, past Cloudflare, and says what changed (HM-01 to HM-09, HM-14).
#   gx-health-monitor <settings file>
# Exit status: 0 all healthy, 1 a region is down, 2 the settings are wrong.
set -uo pipefail

settings=${1:?usage: gx-health-monitor <settings file>}
# shellcheck disable=SC1090 # written by the program
source "$settings" || exit 2
: "${HOST_NAME:?}" "${TIMEOUT_SECONDS:?}" "${FAILURES_BEFORE_ALERT:?}" "${CERTIFICATE_WARNING_DAYS:?}"
: "${NAME:?}" "${LOG:?}" "${STATE:?}" "${METRICS:?}" "${LOCAL_ADDRESS:?}" "${PAGERDUTY_URL:?}" "${#REGIONS[@]}"
: "${STATUS_URL:?}"

mkdir -p "$STATE" || exit 2
exec 9>"$STATE/lock"
# The previous run has not ended: its timeouts are bounded, so this one has nothing to add.
flock -n 9 || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Who is told beside the mail; readable by root alone, and absent where nobody is.
SLACK_URL='' PAGERDUTY_KEY=''
# shellcheck disable=SC1090 # written by the program
[[ -z ${SECRETS:-} ]] || source "$SECRETS" || exit 2
trust=()
[[ -z ${CA_BUNDLE:-} ]] || trust=(--cacert "$CA_BUNDLE")

log() {
    printf '[%s] %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" >>"$LOG"
}

# Without the lock, which a delivery in the background would hold.
mail_it() {
    printf 'To: %s\nSubject: [%s] %s\n\n%s\nSeen from %s.\n' "$EMAIL" "$HOST_NAME" "$1" "$1" "$(hostname)" |
        timeout 5 sendmail -t 9>&-
}

text() {
    local escaped=${1//\\/\\\\}
    printf '"%s"' "${escaped//\"/\\\"}"
}

# The address is a secret of its own, and a command line is everybody's: it comes by standard input.
post() {
    printf 'url = "%s"\n' "$1" |
        curl -sf -o /dev/null --max-time 5 --config - -H 'Content-Type: application/json' --data-binary "@$2"
}

slack_it() {
    printf '{"text":%s}' "$(text "[$HOST_NAME] $1")" >"$work/slack"
    post "$SLACK_URL" "$work/slack"
}

# Every node reports to PagerDuty, which makes one incident of what has the same key.
page_it() {
    local message=$1 key=$2 action=$3
    printf '{"routing_key":%s,"event_action":"%s","dedup_key":%s,"payload":{"summary":%s,"source":%s,"severity":"critical"}}' \
        "$(text "$PAGERDUTY_KEY")" "$action" "$(text "$HOST_NAME/$key")" "$(text "[$HOST_NAME] $message")" \
        "$(text "$(hostname)")" >"$work/page"
    post "$PAGERDUTY_URL" "$work/page"
}

tell() {
    case $1 in
    mail) mail_it "$2" ;;
    Slack) slack_it "$2" ;;
    PagerDuty) page_it "$2" "$3" "$4" ;;
    esac
}

# Whether this node tells what happened to a region: the first of the others that answers does, in inventory order. A node
# that was away cannot tell of its own return. Where none answers everybody tells: twice is better than not at all.
is_mine() {
    local region other code
    for region in "${REGIONS[@]}"; do
        other=${region##*|}
        [[ $other != "$1" ]] || continue
        read -r code _ <"$work/$other"
        [[ $code == 000 ]] || {
            [[ $other == "$LOCAL_ADDRESS" ]]
            return
        }
    done
}

# Tells everybody; fails when nobody could be told, so that the next run tries again.
#   alert <trigger or resolve> <address> <what it is about> <message>
alert() {
    local action=$1 address=$2 key=$3 message=$4 channels=() told=no channel
    log "ALERT $message"
    if is_mine "$address"; then
        [[ -z ${EMAIL:-} ]] || channels+=(mail)
        [[ -z $SLACK_URL ]] || channels+=(Slack)
    fi
    [[ -z $PAGERDUTY_KEY ]] || channels+=(PagerDuty)
    ((${#channels[@]})) || return 0
    for channel in "${channels[@]}"; do
        if tell "$channel" "$message" "$key" "$action"; then
            told=yes
        else
            log "ALERT NOT SENT by $channel"
        fi
    done
    [[ $told == yes ]]
}

# Writes "<HTTP code> <milliseconds> <days the certificate still lasts>" for one address.
probe() {
    local address=$1 code start handshake connect milliseconds end='' days=
    read -r code start handshake connect < <(
        curl -s -o /dev/null -w '%{http_code} %{time_starttransfer} %{time_appconnect} %{time_connect}\n' "${trust[@]}" \
            --max-time "$TIMEOUT_SECONDS" --resolve "$HOST_NAME:443:$address" "https://$HOST_NAME/health"
    )
    # The service's own time, comparable between any two places (X-51): without the handshakes, and without the round trip
    # of the request, which is what it took to connect.
    milliseconds=$(awk -v start="${start:-0}" -v handshake="${handshake:-0}" -v connect="${connect:-0}" \
        'BEGIN { own = (start - handshake - connect) * 1000; printf "%d", (own > 0 ? own : 0) }')
    # Who takes no connection would cost the same time again.
    [[ ${connect:-0} =~ ^[0.]*$ ]] || end=$(timeout "$TIMEOUT_SECONDS" openssl s_client -connect "$address:443" -servername "$HOST_NAME" </dev/null 2>/dev/null |
        openssl x509 -noout -enddate 2>/dev/null)
    [[ -z $end ]] || days=$((($(date -d "${end#notAfter=}" +%s) - $(date +%s)) / 86400))
    echo "${code:-000} $milliseconds ${days:-unknown}" >"$work/$address"
}

# What this node's Nginx counts, as "<name>{<labels>} <value>" lines. The names are those of nginx-prometheus-exporter.
nginx_metrics() {
    local status
    status=$(curl -sf --max-time 2 "$STATUS_URL") || {
        echo "nginx_up$1 0"
        return
    }
    echo "nginx_up$1 1"
    awk -v labels="$1" '
        /^Active/ { print "nginx_connections_active" labels, $3 }
        # accepted, handled, requests
        /^ *[0-9]+ +[0-9]+ +[0-9]+ *$/ { print "nginx_http_requests_total" labels, $3 }
        /^Reading/ {
            print "nginx_connections_reading" labels, $2
            print "nginx_connections_writing" labels, $4
            print "nginx_connections_waiting" labels, $6
        }' <<<"$status"
}

grade() {
    if (($1 < 100)); then echo good; elif (($1 <= 500)); then echo warning; else echo critical; fi
}

# Remembers one finding and tells when it changes: one alert per outage, not one per run.
#   remember <address> <what it is about> <1 if well> <failures before the alert> <what to say> <and when it is over>
remember() {
    local address=$1 key=$2 well=$3 limit=$4 bad=$5 over=$6 failures=0 alerted=no file
    file=$STATE/${key//\//.}
    [[ ! -s $file ]] || read -r failures alerted <"$file"
    if [[ $well == 1 ]]; then
        failures=0
        if [[ $alerted == yes ]] && alert resolve "$address" "$key" "$over"; then alerted=no; fi
    else
        failures=$((failures + 1))
        if ((failures >= limit)) && [[ $alerted == no ]] && alert trigger "$address" "$key" "$bad"; then alerted=yes; fi
    fi
    echo "$failures $alerted" >"$file.new" && mv "$file.new" "$file"
}

for region in "${REGIONS[@]}"; do
    probe "${region##*|}" &
done
wait

status=0
# Several stacks may have a monitor on one node, and node exporter reads all their files as one.
host="host=\"$HOST_NAME\""
metrics=()
for region in "${REGIONS[@]}"; do
    name=${region%|*} address=${region##*|}
    read -r code milliseconds days <"$work/$address"
    if [[ $code == 200 ]]; then
        up=1
        log "✓ $name - HEALTHY ($milliseconds ms, $(grade "$milliseconds"))"
    else
        up=0 status=1
        log "✗ $name - DOWN (HTTP $code)"
    fi
    remember "$address" "$address" "$up" "$FAILURES_BEFORE_ALERT" "$name is DOWN (HTTP $code)" "$name has RECOVERED"
    labels="{$host,region=\"$name\",address=\"$address\"}"
    metrics+=("gx_region_up$labels $up" "gx_region_http_code$labels $((10#$code))")
    metrics+=("gx_region_response_seconds$labels $(awk -v ms="$milliseconds" 'BEGIN { print ms / 1000 }')")
    if [[ $days != unknown ]]; then
        metrics+=("gx_region_certificate_days$labels $days")
        valid=1
        if ((days < CERTIFICATE_WARNING_DAYS)); then valid=0; fi
        remember "$address" "$address/certificate" "$valid" 1 \
            "the certificate of $name ends in $days days" "the certificate of $name is renewed"
    fi
done
metrics+=("gx_health_monitor_last_run_seconds{$host} $(date +%s)" "$(nginx_metrics "{$host}")")
# Where Debian's node_exporter reads metrics from files, it finds them.
[[ -d $METRICS ]] || METRICS=$STATE
printf '%s\n' "${metrics[@]}" >"$METRICS/$NAME.prom.new" && mv "$METRICS/$NAME.prom.new" "$METRICS/$NAME.prom"
exit "$status"
