"""Property values on their way between the engine and the stand-ins."""

from __future__ import annotations

import pytest
from pulumi.output import Unknown
from pulumi.runtime import rpc

from sandbox.plugins.values import (
    UNKNOWN,
    Json,
    Secret,
    decode,
    encode,
    has_secret,
    has_unknown,
    plain,
    with_secrets_of,
)


@pytest.mark.parametrize(
    "value",
    [None, True, 0, 1.5, "text", [], {}, [1, {"a": [None]}], {"a": {"b": Secret("s")}}, Secret({"a": ["b"]}), UNKNOWN],
)
def test_a_value_survives_the_way_to_the_engine_and_back(value: Json) -> None:
    assert decode(encode({"key": value})) == {"key": value}


def test_secrets_and_unknowns_are_what_the_sdk_takes_them_for() -> None:
    received = rpc.deserialize_properties(encode({"secret": Secret("s"), "unknown": UNKNOWN}), keep_unknowns=True)
    assert rpc.is_rpc_secret(received["secret"])
    assert isinstance(received["unknown"], Unknown)


def test_a_secret_is_not_printed() -> None:
    assert "hunter2" not in repr(Secret("hunter2"))


def test_secrets_are_found_unwrapped_and_marked_again_at_any_depth() -> None:
    inputs = {"env": [{"name": "a", "value": Secret("x")}], "data": {"k": Secret("y"), "l": "z"}}
    assert has_secret(inputs)
    assert plain(inputs) == {"env": [{"name": "a", "value": "x"}], "data": {"k": "y", "l": "z"}}
    marked = with_secrets_of(plain(inputs), inputs)
    assert marked == {"env": Secret([{"name": "a", "value": "x"}]), "data": {"k": Secret("y"), "l": "z"}}


def test_an_unknown_inside_a_secret_is_found() -> None:
    assert has_unknown({"a": [Secret({"b": UNKNOWN})]})
    assert not has_unknown({"a": [Secret("b")]})
