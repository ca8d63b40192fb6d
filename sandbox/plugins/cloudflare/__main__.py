"""``pulumi-resource-cloudflare``, as the engine starts it."""

from sandbox.plugins.cloudflare.plugin import CloudflareProvider
from sandbox.plugins.serve import main

main(CloudflareProvider())
