"""A stack's state as an ``up`` of the program would leave it, made without one: from what the program registers."""

import base64
import json
import runpy
from collections.abc import Mapping
from typing import Any

from sandbox.plugins import versions
from settings.stackfile import PROJECT, ROOT
from tests import capture
from tests.capture import SECRET, SIGNATURE, STACK_TYPE, Capture, Registered


def registered(stack: str, config: Mapping[str, str]) -> Capture:
    """Everything the real program registers with this config."""
    return capture.run(
        lambda: runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__"), stack=stack, config=config
    )


def settled(stack: str, program: Capture, known: Mapping[str, Any]) -> dict[str, Any]:
    """A state, secrets in clear, that the program has nothing to do with.

    Resources of ``known``, an export with its secrets in clear, are kept as they are where their inputs are those that
    the program declares. Others get what it declares; of what only a server knows, no-op previews read nothing.
    """
    old = {(each["type"], _name(each["urn"])): each for each in known["deployment"]["resources"]}
    root = old.get((STACK_TYPE, f"{PROJECT}-{stack}")) or {
        "urn": f"urn:pulumi:{stack}::{PROJECT}::{STACK_TYPE}::{PROJECT}-{stack}",
        "custom": False,
        "type": STACK_TYPE,
    }
    made: dict[str, dict[str, Any]] = {"": root}
    for resource in program.resources:
        parent = made.get(resource.parent, root)
        entry = dict(old.get((resource.type, resource.name)) or _fresh(resource, parent, made))
        provider = resource.type.startswith("pulumi:providers:")
        if resource.custom and not provider and _in_clear(entry["inputs"]) != resource.inputs:
            entry["inputs"] = _marked(resource.inputs, "", resource.secrets)
            entry["outputs"] = {**entry.get("outputs", {}), **_outputs(resource, entry["inputs"])}
        made[resource.urn] = entry
    resources = list(made.values())
    return {**known, "deployment": {**known["deployment"], "resources": resources, "pending_operations": []}}


def _fresh(resource: Registered, parent: Mapping[str, Any], made: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    qualified = resource.type if parent["type"] == STACK_TYPE else f"{_type_path(parent['urn'])}${resource.type}"
    entry: dict[str, Any] = {
        "urn": f"{'::'.join(made['']['urn'].split('::')[:2])}::{qualified}::{resource.name}",
        "custom": resource.custom,
        "type": resource.type,
        "inputs": {},
        "outputs": {},
        "parent": parent["urn"],
        "protect": resource.protect,
        "retainOnDelete": resource.retain_on_delete,
        "dependencies": [made[urn]["urn"] for urn in resource.dependencies if urn in made],
    }
    if not resource.custom:
        return entry
    entry["id"] = f"{resource.name}-id"
    if resource.type.startswith("pulumi:providers:"):
        version = getattr(versions, resource.type.rsplit(":", 1)[-1].upper())
        inputs = {**_marked(resource.inputs, "", resource.secrets), "version": version}
        entry |= {"inputs": inputs, "outputs": inputs}
    elif resource.provider:
        provider = made[resource.provider.rpartition("::")[0]]
        entry["provider"] = f"{provider['urn']}::{provider['id']}"
    return entry


def _outputs(resource: Registered, inputs: dict[str, Any]) -> dict[str, Any]:
    if not resource.type.startswith("kubernetes:"):
        return inputs
    live = dict(inputs)
    if resource.type == "kubernetes:core/v1:Secret" and "stringData" in live:
        text = resource.inputs["stringData"]
        data = {key: base64.b64encode(value.encode()).decode() for key, value in text.items()}
        live = {key: value for key, value in live.items() if key != "stringData"} | {"data": _secret(data)}
    return {**live, "__inputs": inputs, "__initialApiVersion": inputs["apiVersion"], "__fieldManager": "bench"}


def _secret(value: object) -> dict[str, str]:
    return {SIGNATURE: SECRET, "plaintext": json.dumps(value)}


def _marked(value: Any, path: str, secrets: frozenset[str]) -> Any:  # noqa: ANN401 - JSON
    """Inputs with what arrived encrypted marked as a state has it."""
    if path in secrets:
        return _secret(value)
    if isinstance(value, dict):
        return {key: _marked(each, f"{path}.{key}" if path else key, secrets) for key, each in value.items()}
    if isinstance(value, list):
        return [_marked(each, f"{path}[{index}]", secrets) for index, each in enumerate(value)]
    return value


def _in_clear(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        if SIGNATURE in value:
            return _in_clear(json.loads(value["plaintext"]))
        return {key: _in_clear(each) for key, each in value.items()}
    return [_in_clear(each) for each in value] if isinstance(value, list) else value


def _name(urn: str) -> str:
    return str(urn).split("::", 3)[3]


def _type_path(urn: str) -> str:
    return str(urn).split("::")[2]
