"""Cloudflare's provider and resources, without the generated SDK.

Failing over is removing one record, so the modules that declare them must start fast. Importing the SDK costs about
three seconds of CPU (12 MB of classes) for the few used here, which are therefore declared on
``pulumi.CustomResource``; a test holds them to what the SDK registers. The SDK stays a requirement: it names the plugin
and its version.
https://www.pulumi.com/registry/packages/cloudflare/api-docs/
"""

from collections.abc import Mapping
from functools import cache
from importlib import metadata

import pulumi

from settings.model import Dns


@cache
def _plugin_version() -> str:
    return metadata.version("pulumi-cloudflare")


def cloudflare_provider(dns: Dns, api_token: pulumi.Input[str]) -> pulumi.ProviderResource:
    """Provider of the zone's account. The token is encrypted in the state, whatever it comes in as."""
    return pulumi.ProviderResource(
        "cloudflare",
        "cloudflare",
        {"apiToken": pulumi.Output.secret(api_token), "baseUrl": dns.base_url},
        pulumi.ResourceOptions(version=_plugin_version(), additional_secret_outputs=["apiToken"]),
    )


def resource(
    kind: str, name: str, inputs: Mapping[str, pulumi.Input[object]], opts: pulumi.ResourceOptions
) -> pulumi.CustomResource:
    """A resource by the name of its class in the SDK, with inputs as the plugin names them."""
    token = f"cloudflare:index/{kind[0].lower()}{kind[1:]}:{kind}"
    versioned = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(version=_plugin_version()))
    return pulumi.CustomResource(token, name, dict(inputs), versioned)
