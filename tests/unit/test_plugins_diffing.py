"""Differences as the Kubernetes stand-in reports them."""

from __future__ import annotations

import pytest

from sandbox.plugins.diffing import changes, format_path, parse_path
from sandbox.plugins.provider import ChangeKind
from sandbox.plugins.quantities import same_quantity
from sandbox.plugins.values import UNKNOWN, Json


@pytest.mark.parametrize(
    "text",
    ["spec.ports[0].port", 'metadata.labels["app.kubernetes.io/name"]', 'metadata.annotations["say \\"hi\\""]', "data"],
)
def test_a_path_survives_parsing_and_formatting(text: str) -> None:
    assert format_path(parse_path(text)) == text


@pytest.mark.parametrize(
    ("left", "right"), [("1000m", "1"), ("1024Mi", "1Gi"), ("0.5", "500m"), (1, "1"), ("1e3", "1k"), ("100m", "0.1")]
)
def test_two_spellings_of_an_amount_are_equal(left: object, right: object) -> None:
    assert same_quantity(left, right)


@pytest.mark.parametrize(("left", "right"), [("1", "2"), ("1Gi", "1G"), ("one", "one"), ("", "")])
def test_different_amounts_and_words_are_not(left: object, right: object) -> None:
    assert not same_quantity(left, right)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 2}, {"a": ChangeKind.UPDATE}),
        ({"a": 1}, {}, {"a": ChangeKind.DELETE}),
        ({}, {"a": 1}, {"a": ChangeKind.ADD}),
        ({"a": [1, 2]}, {"a": [1]}, {"a[1]": ChangeKind.DELETE}),
        ({"a": {"b": 1}}, {"a": UNKNOWN}, {"a": ChangeKind.UPDATE}),
        ({"a": True}, {"a": 1}, {"a": ChangeKind.UPDATE}),
    ],
)
def test_changes_are_named_by_path_and_kind(old: Json, new: Json, expected: dict[str, ChangeKind]) -> None:
    assert changes(old, new, (), []) == expected


def test_what_the_server_drops_because_it_is_empty_is_no_change() -> None:
    assert changes({}, {"a": "", "b": [], "c": {}, "d": False, "e": None}, (), []) == {}


def test_a_quantity_is_compared_by_amount_only_where_quantities_stand() -> None:
    assert changes({"limits": {"cpu": "1"}}, {"limits": {"cpu": "1000m"}}, (), []) == {}
    assert changes({"data": {"cpu": "1"}}, {"data": {"cpu": "1000m"}}, (), []) == {"data.cpu": ChangeKind.UPDATE}


def test_a_change_below_a_fixed_field_replaces() -> None:
    old = {"spec": {"selector": {"app": "a"}, "replicas": 1}}
    new = {"spec": {"selector": {"app": "b"}, "replicas": 2}}
    assert changes(old, new, ("spec.selector",), []) == {
        "spec.selector.app": ChangeKind.UPDATE_REPLACE,
        "spec.replicas": ChangeKind.UPDATE,
    }


def test_adding_a_parent_that_holds_a_fixed_field_replaces() -> None:
    assert changes({}, {"spec": {"selector": {"app": "a"}}}, ("spec.selector",), []) == {"spec": ChangeKind.ADD_REPLACE}


def test_ignored_paths_are_left_out_with_all_below_them() -> None:
    assert changes({"spec": {"a": 1, "b": 1}}, {"spec": {"a": 2, "b": 2}}, (), ["spec.a"]) == {
        "spec.b": ChangeKind.UPDATE
    }
