#!/bin/sh
# certbot runs this after a renewal (TLS-06). A configuration that does not pass leaves Nginx with the old certificate.
set -eu
nginx -t -q
if [ -d /run/systemd/system ]; then
    systemctl reload nginx
else
    nginx -s reload
fi
