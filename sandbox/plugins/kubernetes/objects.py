"""Kubernetes objects as the plugin keeps them: normalised inputs, pruned live objects, the recorded state."""

from __future__ import annotations

import base64
from typing import Any

from sandbox.plugins.values import Json, Secret, Unknown, has_unknown, plain, with_secrets_of

INPUTS_KEY = "__inputs"
FIELD_MANAGER_KEY = "__fieldManager"
INITIAL_API_VERSION_KEY = "__initialApiVersion"
_INTERNAL_KEYS = frozenset({INPUTS_KEY, FIELD_MANAGER_KEY, INITIAL_API_VERSION_KEY})

_SERVER_METADATA = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "uid",
)
_SERVER_ANNOTATIONS = ("deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration")


def annotation(obj: Json, key: str) -> str:
    """The value of ``pulumi.com/<key>``, empty when it is absent or not known."""
    annotations = (obj.get("metadata") or {}).get("annotations")
    value = annotations.get(f"pulumi.com/{key}") if isinstance(annotations, dict) else None
    return value if isinstance(value, str) else ""


def normalise(inputs: dict[str, Json]) -> dict[str, Json]:
    """Plain inputs without read-only metadata, and a Secret's ``stringData`` as the ``data`` the server makes of it."""
    result: dict[str, Json] = plain(inputs)
    metadata = result.get("metadata")
    if isinstance(metadata, dict):
        result["metadata"] = {key: value for key, value in metadata.items() if key not in _SERVER_METADATA}
    if result.get("kind") == "Secret" and isinstance(result.get("stringData"), dict):
        if has_unknown(result["stringData"]):
            return result
        text = result.pop("stringData")
        encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in text.items()}
        result["data"] = {**(result.get("data") or {}), **encoded}
    return result


def prune(source: Json, shape: Json) -> Json:
    """The part of ``source`` that has the keys and, for lists, the length of ``shape``."""
    if isinstance(source, dict) and isinstance(shape, dict):
        return {key: prune(value, shape[key]) for key, value in source.items() if key in shape}
    if isinstance(source, list) and isinstance(shape, list):
        if not source or not shape or type(source[0]) is not type(shape[0]):
            return source
        return [prune(item, target) for item, target in zip(source, shape, strict=False)]
    return source


def checkpoint(live: dict[str, Any], inputs: dict[str, Json], field_manager: str) -> dict[str, Json]:
    """The state the engine records: the live object, the inputs behind it, and who applied them; secrets marked."""
    state = _mark_secret(live, inputs)
    state[INPUTS_KEY] = _mark_secret(plain(inputs), inputs)
    state[INITIAL_API_VERSION_KEY] = live["apiVersion"]
    state[FIELD_MANAGER_KEY] = field_manager
    return state


def _mark_secret(obj: dict[str, Json], inputs: dict[str, Json]) -> dict[str, Json]:
    """``obj`` with secrets marked as in ``inputs``; a Secret's contents are secret whatever the inputs say."""
    if obj.get("kind") == "Secret":
        return {
            key: Secret(value) if key in {"data", "stringData"} and not isinstance(value, Secret) else value
            for key, value in obj.items()
        }
    marked: dict[str, Json] = with_secrets_of(obj, inputs)
    return marked


def mark_secret_inputs(checked: dict[str, Json], given: dict[str, Json]) -> dict[str, Json]:
    """Checked inputs with the secrets of the given ones."""
    return _mark_secret(checked, given)


def split_state(state: dict[str, Json]) -> tuple[dict[str, Json], dict[str, Json]]:
    """The recorded inputs and the recorded live object of a state."""
    live = {key: value for key, value in state.items() if key not in _INTERNAL_KEYS}
    return plain(state.get(INPUTS_KEY) or {}), plain(live)


def inputs_of_live(live: dict[str, Any]) -> dict[str, Any]:
    """Inputs that would produce a live object nobody has inputs for: what ``import`` shows."""
    inputs = {key: value for key, value in live.items() if key != "status"}
    metadata = {key: value for key, value in live["metadata"].items() if key not in _SERVER_METADATA}
    annotations = {
        key: value for key, value in metadata.pop("annotations", {}).items() if key not in _SERVER_ANNOTATIONS
    }
    if annotations:
        metadata["annotations"] = annotations
    return {**inputs, "metadata": metadata}


def qualified_name(obj: dict[str, Any]) -> str:
    """``namespace/name``, or ``name`` for a cluster-wide object: the resource's id."""
    namespace = obj["metadata"].get("namespace")
    name = obj["metadata"]["name"]
    return f"{namespace}/{name}" if namespace else str(name)


def split_id(resource_id: str) -> tuple[str, str]:
    """Namespace (empty when cluster-wide) and name of a resource id."""
    namespace, _, name = resource_id.rpartition("/")
    return namespace, name


def fill_name(inputs: dict[str, Json], olds: dict[str, Json], resource: str, seed: bytes) -> dict[str, Json]:
    """Inputs with a name: their own, else the one made before, else a new one: the resource's name and 8 hex digits."""
    metadata = inputs.get("metadata")
    if isinstance(metadata, Unknown):
        return inputs
    metadata = dict(metadata or {})
    if metadata.get("name"):
        return inputs
    old_metadata = olds.get("metadata") or {}
    adopted = old_metadata.get("name") if annotation(olds, "autonamed") == "true" else None
    metadata["name"] = adopted or f"{resource}-{seed.hex()[:8]}"
    annotations = metadata.get("annotations") or {}
    if isinstance(annotations, dict):
        metadata["annotations"] = {**annotations, "pulumi.com/autonamed": "true"}
    return {**inputs, "metadata": metadata}
