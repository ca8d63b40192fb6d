"""The bare program: a stack's resources, flat, with the SDKs' classes and literal values, generated from its state."""

import json
import pprint
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PROJECT = "gx-bare"
STACK = "bare"

_SIGNATURE = "4dabf18193072939515e22adb298388d"
_STACK_TYPE = "pulumi:pulumi:Stack"
_STACK_URN = f"urn:pulumi:{STACK}::{PROJECT}::{_STACK_TYPE}::{PROJECT}-{STACK}"

_IMPORTS = """\
import pulumi
import pulumi_command as command
import pulumi_kubernetes as k8s
from pulumi import Output, ResourceOptions
"""
_CLOUDFLARE = "import pulumi_cloudflare as cloudflare\n"
# What the SDK's import costs is its own row: with these classes the bare program is without it too.
_LIGHT_CLOUDFLARE = """

class cloudflare:
    class Provider(pulumi.ProviderResource):
        def __init__(self, resource, /, opts=None, **props):
            props = {"apiToken": props["api_token"], "baseUrl": props["base_url"]}
            super().__init__("cloudflare", resource, props, opts)

    class DnsRecord(pulumi.CustomResource):
        def __init__(self, resource, /, opts=None, **props):
            props["zoneId"] = props.pop("zone_id")
            super().__init__("cloudflare:index/dnsRecord:DnsRecord", resource, props, opts)

    class ZoneSetting(pulumi.CustomResource):
        def __init__(self, resource, /, opts=None, **props):
            props["zoneId"] = props.pop("zone_id")
            props["settingId"] = props.pop("setting_id")
            super().__init__("cloudflare:index/zoneSetting:ZoneSetting", resource, props, opts)

"""


def write(directory: Path, state: Mapping[str, Any], virtualenv: Path, *, light: bool) -> Path:
    """A project with the program; returns the program. ``light`` leaves out the import of the Cloudflare SDK.

    ``state`` is an export with its secrets in clear: the directory must be private and go with the measurement.
    The resources stand in a module of their own, which Python compiles once, as it does with the components.
    """
    directory.mkdir(parents=True, mode=0o700)
    (directory / "Pulumi.yaml").write_text(
        f"name: {PROJECT}\nruntime: {{name: python, options: {{toolchain: pip, virtualenv: {virtualenv}}}}}\n"
    )
    head = f"{_IMPORTS}{_LIGHT_CLOUDFLARE}" if light else f"{_IMPORTS}{_CLOUDFLARE}"
    (directory / "resources.py").write_text("\n".join([head, *_declarations(state)]))
    program = directory / "__main__.py"
    program.write_text("import resources\n")
    return program


def _declarations(state: Mapping[str, Any]) -> Iterator[str]:
    providers: dict[str, str] = {}
    for resource in _custom(state):
        inputs = {key: _plain(value) for key, value in resource["inputs"].items() if not key.startswith("__")}
        options = []
        if resource["type"].startswith("pulumi:providers:"):
            inputs = {key: _decoded(value) for key, value in inputs.items() if key != "version"}
            variable = "provider_" + resource["type"].rsplit(":", 1)[-1]
            providers[f"{resource['urn']}::{resource['id']}"] = variable
            assignment = f"{variable} = "
        else:
            assignment = ""
            options.append(f"provider={providers[resource['provider']]}")
            inputs = {key: value for key, value in inputs.items() if key not in {"apiVersion", "kind"}}
        options += [f"{_snake(key)}=True" for key in ("protect", "retainOnDelete") if resource.get(key)]
        arguments = [repr(_name(resource["urn"]))]
        if options:
            arguments.append(f"opts=ResourceOptions({', '.join(options)})")
        arguments += [f"{_snake(key)}={_literal(value)}" for key, value in inputs.items()]
        yield f"{assignment}{_class(resource['type'])}({', '.join(arguments)})\n"


def flat_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state that an ``up`` of the bare program would leave, from the stack's own with secrets in clear."""
    urns = {resource["urn"]: _urn(resource) for resource in _custom(state)}
    flat = [{"urn": _STACK_URN, "custom": False, "type": _STACK_TYPE}]
    for resource in _custom(state):
        kept = {key: value for key, value in resource.items() if key not in _OF_THE_PROGRAM}
        kept |= {"urn": urns[resource["urn"]], "parent": _STACK_URN}
        if provider := resource.get("provider"):
            urn, _, identity = provider.rpartition("::")
            kept["provider"] = f"{urns[urn]}::{identity}"
        if resource["type"].startswith("cloudflare:"):
            # The SDK's classes check the types of all outputs; the API's answers are not all as they declare.
            kept["outputs"] = resource["inputs"]
        flat.append(kept)
    return {**state, "deployment": {**state["deployment"], "resources": flat}}


_OF_THE_PROGRAM = frozenset({"dependencies", "propertyDependencies", "sourcePosition", "stackTrace", "aliases"})


def _custom(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The resources a provider manages, providers first."""
    found = [resource for resource in state["deployment"]["resources"] if resource["custom"]]
    return sorted(found, key=lambda resource: not resource["type"].startswith("pulumi:providers:"))


def _urn(resource: Mapping[str, Any]) -> str:
    return f"urn:pulumi:{STACK}::{PROJECT}::{resource['type']}::{_name(resource['urn'])}"


def _name(urn: str) -> str:
    return str(urn).split("::", 3)[3]


def _class(token: str) -> str:
    """The SDK's class of a type token."""
    package, module, kind = token.split(":")
    if package == "pulumi":
        return f"{ {'kubernetes': 'k8s'}.get(kind, kind) }.Provider".replace(" ", "")
    if package == "kubernetes":
        group, version = module.split("/")
        return f"k8s.{group.split('.')[0]}.{version}.{kind}"
    return f"{package}.{kind}" if module.startswith("index/") else f"{package}.{module}.{kind}"


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), name)


class _Secret:
    def __init__(self, value: object) -> None:
        self._value = value

    def __repr__(self) -> str:
        return f"Output.secret({self._value!r})"


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """State's JSON with its secrets as expressions of the program."""
    if isinstance(value, dict):
        if _SIGNATURE in value:
            return _Secret(json.loads(value["plaintext"]))
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _decoded(value: object) -> object:
    """A provider's input: the engine has everything but text as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        decoded: object = json.loads(value)
    except json.JSONDecodeError:
        return value
    return decoded


def _literal(value: object) -> str:
    return pprint.pformat(value, width=100_000, sort_dicts=False)
