"""Property values between the engine's protobuf structs and plain Python data.

A value is JSON data in which a secret is wrapped in :class:`Secret`, and what a preview cannot know is :data:`UNKNOWN`.
The markers are those of Pulumi's deployment protocol:
https://github.com/pulumi/pulumi/blob/master/sdk/go/common/resource/plugin/rpc.go
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import struct_pb2

_SIGNATURE_KEY = "4dabf18193072939515e22adb298388d"
_SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a marker of the protocol
_UNKNOWN_STRING = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_UNKNOWN_STRINGS = frozenset(
    {
        _UNKNOWN_STRING,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)

Json = Any
"""JSON data that may hold :class:`Secret` and :data:`UNKNOWN`: the boundary where types end."""


@dataclass(frozen=True)
class Secret:
    """A value the engine must encrypt at rest and hide in output."""

    value: Json

    def __repr__(self) -> str:
        return "Secret([hidden])"


class Unknown:
    """The type of :data:`UNKNOWN`."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


def decode(struct: struct_pb2.Struct) -> dict[str, Json]:
    """Python data of a property struct. Numbers without a fraction become ``int``."""
    return {key: _decode(value) for key, value in struct.fields.items()}


def _decode(value: struct_pb2.Value) -> Json:  # noqa: PLR0911 - one return per kind of value
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return UNKNOWN if value.string_value in _UNKNOWN_STRINGS else value.string_value
    if kind == "struct_value":
        fields = value.struct_value.fields
        signature = fields.get(_SIGNATURE_KEY)
        if signature is not None and signature.string_value == _SECRET_SIGNATURE:
            return Secret(_decode(fields["value"]))
        return {key: _decode(item) for key, item in fields.items()}
    if kind == "list_value":
        return [_decode(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    return None


def encode(data: Mapping[str, Json]) -> struct_pb2.Struct:
    """The property struct of Python data; inverse of :func:`decode`."""
    struct = struct_pb2.Struct()
    for key, value in data.items():
        _encode(value, struct.fields[key])
    return struct


def _encode(value: Json, into: struct_pb2.Value) -> None:
    if value is None:
        into.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        into.bool_value = value
    elif isinstance(value, int | float):
        into.number_value = value
    elif isinstance(value, str):
        into.string_value = value
    elif isinstance(value, Unknown):
        into.string_value = _UNKNOWN_STRING
    elif isinstance(value, Secret):
        into.struct_value.fields[_SIGNATURE_KEY].string_value = _SECRET_SIGNATURE
        _encode(value.value, into.struct_value.fields["value"])
    elif isinstance(value, Mapping):
        into.struct_value.SetInParent()
        for key, item in value.items():
            _encode(item, into.struct_value.fields[key])
    else:
        into.list_value.SetInParent()
        for item in value:
            _encode(item, into.list_value.values.add())


def map_leaves(value: Json, leaf: Callable[[Json], Json]) -> Json:
    """A copy of ``value`` with every secret unwrapped and every other leaf passed through ``leaf``."""
    if isinstance(value, Secret):
        return map_leaves(value.value, leaf)
    if isinstance(value, dict):
        return {key: map_leaves(item, leaf) for key, item in value.items()}
    if isinstance(value, list):
        return [map_leaves(item, leaf) for item in value]
    return leaf(value)


def plain(value: Json) -> Json:
    """A copy of ``value`` without secret wrappers; unknowns stay."""
    return map_leaves(value, lambda leaf: leaf)


def walk(value: Json) -> Iterator[Json]:
    """Every node of ``value``, the value itself first."""
    yield value
    if isinstance(value, Secret):
        yield from walk(value.value)
    elif isinstance(value, dict):
        for item in value.values():
            yield from walk(item)
    elif isinstance(value, list):
        for item in value:
            yield from walk(item)


def has_unknown(value: Json) -> bool:
    """Whether any part of ``value`` is not known yet."""
    return any(isinstance(node, Unknown) for node in walk(value))


def has_secret(value: Json) -> bool:
    """Whether any part of ``value`` is secret."""
    return any(isinstance(node, Secret) for node in walk(value))


def with_secrets_of(outputs: Json, inputs: Json) -> Json:
    """``outputs`` with every part marked secret whose counterpart in ``inputs`` is secret."""
    if isinstance(outputs, Secret):
        return outputs
    if isinstance(inputs, Secret):
        return Secret(outputs)
    if isinstance(outputs, dict) and isinstance(inputs, dict):
        return {key: with_secrets_of(value, inputs[key]) if key in inputs else value for key, value in outputs.items()}
    if isinstance(outputs, list) and has_secret(inputs):
        return Secret(outputs)
    return outputs
