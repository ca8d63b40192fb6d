"""Whatever stands in a stack file, the answer is a verdict or a report of mistakes: never a crash, never a secret."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from checks.prove import prove
from settings import stackfile
from settings.loader import SettingsError, load
from tests import stacks

TODAY = date(2026, 11, 25)
MAINNET = stacks.complete("mainnet")
CANARY = "canary"

# What YAML can hold, and what an operator's slip makes of it.
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", " ", "yes", "1_000", "0755", "~", "\u0661Gi", "-1Gi", "1e9", "10.0.0.1/8", "::1", "2026-02-30", "\ud800"]
    ),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.dates())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


def paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where something stands in the file."""
    if path:
        yield path
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from paths(each, (*path, key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, each in enumerate(value):
            yield from paths(each, (*path, index))


def at(path: tuple[str | int, ...]) -> object:
    """What stands there."""
    here: Any = MAINNET
    for step in path:
        here = here[step]
    return here


PATHS = list(paths(MAINNET))
# Good in another place of the file: more of them get past the form and reach the rules and the proofs.
MISPLACED = st.sampled_from([path for path in PATHS if path[0] != "secrets"]).map(at)


def put(config: Any, path: tuple[str | int, ...], value: object) -> None:  # noqa: ANN401 - a stack file of any shape
    """Put a value at a path, as far as an earlier one has left it there."""
    for step in path[:-1]:
        try:
            config = config[step]
        except (KeyError, IndexError, TypeError):
            return
    last: Any = path[-1]
    if isinstance(config, dict) or (isinstance(config, list) and isinstance(last, int) and last < len(config)):
        config[last] = value


def judged(config: Mapping[str, object]) -> list[str]:
    """Every line of what becomes of a stack file, and that it is well formed."""
    try:
        settings = load(config, stack="mainnet", secret_keys=frozenset({"secrets"}))
    except SettingsError as error:
        lines = [str(problem) for problem in error.problems]
        assert lines
    else:
        verdict = prove(settings, TODAY)
        lines = [str(finding) for finding in (*verdict.refused, *verdict.reported, *verdict.strict)]
    for line in lines:
        assert ". Fix: " in line
        assert line.isprintable()
        assert len(line) < 2000
        assert CANARY not in line
    return lines


@given(st.lists(st.tuples(st.sampled_from(PATHS), st.one_of(VALUES, MISPLACED, MISPLACED)), min_size=1, max_size=4))
def test_a_changed_stack_gets_a_verdict(changes: list[tuple[tuple[str | int, ...], object]]) -> None:
    config = copy.deepcopy(MAINNET)
    for path, value in changes:
        put(config, path, value)
    judged(config)


@given(st.dictionaries(st.one_of(st.sampled_from(list(MAINNET)), TEXTS), VALUES, max_size=6))
def test_a_stack_of_anything_gets_a_verdict(config: dict[str, object]) -> None:
    assert judged(config)


@given(st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("latin-1"))))
def test_any_text_is_a_stack_file_or_is_told_not_to_be(text: str) -> None:
    for document in (text, f"config:\n  gx-backend-infra:dns: {text}", f"config: {{{text}}}"):
        try:
            config = stackfile.config(document)
        except stackfile.StackFileError as error:
            assert ". Fix: " in str(error)
            assert "\n" not in str(error)
        else:
            judged(config)
