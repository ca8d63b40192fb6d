#!/bin/bash
# Asks every region for /health, past Cloudflare, and says what changed (HM-01 to HM-09, HM-14).
#   gx-health-monitor <settings file>
# Exit status: 0 all healthy, 1 a region is down, 2 the settings are wrong.
set -uo pipefail

settings=${1:?usage: gx-health-monitor <settings file>}
# shellcheck disable=SC1090 # written by the program
source "$settings" || exit 2
: "${HOST_NAME:?}" "${TIMEOUT_SECONDS:?}" "${FAILURES_BEFORE_ALERT:?}" "${CERTIFICATE_WARNING_DAYS:?}"
: "${LOG:?}" "${STATE:?}" "${LOCAL_ADDRESS:?}" "${#REGIONS[@]}"

mkdir -p "$STATE" || exit 2
exec 9>"$STATE/lock"
# The previous run has not ended: its timeouts are bounded, so this one has nothing to add.
flock -n 9 || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trust=()
[[ -z ${CA_BUNDLE:-} ]] || trust=(--cacert "$CA_BUNDLE")

log() {
    printf '[%s] %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" >>"$LOG"
}

alert() {
    log "ALERT $1"
    [[ -n ${EMAIL:-} ]] || return 0
    if command -v sendmail >/dev/null; then
        printf 'To: %s\nSubject: [%s] %s\n\n%s\nSeen from %s.\n' "$EMAIL" "$HOST_NAME" "$1" "$1" "$(hostname)" |
            sendmail -t || log "ALERT NOT SENT: sendmail failed"
    else
        log "ALERT NOT SENT: there is no sendmail"
    fi
}

# Writes "<HTTP code> <milliseconds> <days the certificate still lasts>" for one address.
probe() {
    local address=$1 code start handshake milliseconds end days=
    read -r code start handshake < <(
        curl -s -o /dev/null -w '%{http_code} %{time_starttransfer} %{time_appconnect}\n' "${trust[@]}" \
            --max-time "$TIMEOUT_SECONDS" --resolve "$HOST_NAME:443:$address" "https://$HOST_NAME/health"
    )
    # Without the handshake, which costs three round trips between continents (X-51).
    milliseconds=$(awk -v start="${start:-0}" -v handshake="${handshake:-0}" 'BEGIN { printf "%d", (start - handshake) * 1000 }')
    end=$(timeout "$TIMEOUT_SECONDS" openssl s_client -connect "$address:443" -servername "$HOST_NAME" </dev/null 2>/dev/null |
        openssl x509 -noout -enddate 2>/dev/null)
    [[ -z $end ]] || days=$((($(date -d "${end#notAfter=}" +%s) - $(date +%s)) / 86400))
    echo "${code:-000} $milliseconds ${days:-unknown}" >"$work/$address"
}

grade() {
    if (($1 < 100)); then echo good; elif (($1 <= 500)); then echo warning; else echo critical; fi
}

# Remembers one finding and tells when it changes: one alert per outage, not one per run.
#   remember <state file> <1 if well> <failures before the alert> <what to say> <what to say when it is over>
remember() {
    local file=$1 well=$2 limit=$3 bad=$4 over=$5 failures=0 alerted=no
    [[ ! -s $file ]] || read -r failures alerted <"$file"
    if [[ $well == 1 ]]; then
        [[ $alerted == no ]] || alert "$over"
        failures=0 alerted=no
    else
        failures=$((failures + 1))
        if ((failures >= limit)) && [[ $alerted == no ]]; then
            alert "$bad"
            alerted=yes
        fi
    fi
    echo "$failures $alerted" >"$file.new" && mv "$file.new" "$file"
}

for region in "${REGIONS[@]}"; do
    probe "${region##*|}" &
done
wait

status=0
metrics=()
for region in "${REGIONS[@]}"; do
    name=${region%|*} address=${region##*|}
    read -r code milliseconds days <"$work/$address"
    if [[ $code == 200 ]]; then
        up=1
        note="$milliseconds ms"
        [[ $address != "$LOCAL_ADDRESS" ]] || note="$note, $(grade "$milliseconds")"
        log "✓ $name - HEALTHY ($note)"
    else
        up=0 status=1
        log "✗ $name - DOWN (HTTP $code)"
    fi
    remember "$STATE/$address" "$up" "$FAILURES_BEFORE_ALERT" "$name is DOWN (HTTP $code)" "$name has RECOVERED"
    labels="{region=\"$name\",address=\"$address\"}"
    metrics+=("gx_region_up$labels $up" "gx_region_http_code$labels $((10#$code))")
    metrics+=("gx_region_response_seconds$labels $(awk -v ms="$milliseconds" 'BEGIN { print ms / 1000 }')")
    if [[ $days != unknown ]]; then
        metrics+=("gx_region_certificate_days$labels $days")
        valid=1
        if ((days < CERTIFICATE_WARNING_DAYS)); then valid=0; fi
        remember "$STATE/$address.certificate" "$valid" 1 \
            "the certificate of $name ends in $days days" "the certificate of $name is renewed"
    fi
done
metrics+=("gx_health_monitor_last_run_seconds $(date +%s)")
printf '%s\n' "${metrics[@]}" >"$STATE/metrics.prom.new" && mv "$STATE/metrics.prom.new" "$STATE/metrics.prom"
exit "$status"
