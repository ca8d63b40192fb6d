"""Stand-in for ``pulumi-resource-cloudflare`` 6.23: DNS records and zone settings, over the v4 API."""
