"""Loads a stack's settings. The only reader of Pulumi config; reports every mistake at once, never as a traceback."""

import json
from collections.abc import Mapping
from dataclasses import replace

from pydantic import TypeAdapter, ValidationError

from settings.mistakes import explain
from settings.model import Settings
from settings.problems import Problem, SettingsError
from settings.rules import broken_rules

__all__ = ["SettingsError", "from_pulumi", "load"]


def load(raw: Mapping[str, object], *, stack: str = "…", secret_keys: frozenset[str] | None = None) -> Settings:
    """The settings of a stack from its config, keyed without the project's prefix.

    ``secret_keys`` are the keys that hold something encrypted: their values are never shown, and ``secrets`` must be
    one of them. None means that nothing is known about encryption. Raises ``SettingsError`` with every problem found.
    """
    # An empty object is the default of a key that the stack file leaves out.
    given = {key: value for key, value in raw.items() if value not in ({}, None)}
    problems: list[Problem] = []
    if secret_keys is not None and "secrets" in given and "secrets" not in secret_keys:
        problems.append(
            Problem(
                "secrets",
                "stands in the stack file in clear",
                "remove it, treat its values as leaked, and run `make configure STACK=…` for new ones",
            )
        )
    hidden = (secret_keys or frozenset()) | {"secrets"}
    settings: Settings | None = None
    wrong: set[str] = set()
    try:
        # JSON and strict: "true" is not true, and 1 is not true either.
        settings = Settings.model_validate_json(_json(given), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            wrong.add(str(detail["loc"][0]))
            problems += explain(detail, hidden)
    sections = _sections(given, wrong) if settings is None else dict(settings)
    problems += (
        replace(problem, got=None) if problem.path.partition(".")[0] in hidden else problem
        for problem in broken_rules(sections)
    )
    if settings is None or problems:
        # Only here is the stack's name known.
        raise SettingsError(
            stack, tuple(replace(problem, fix=problem.fix.replace("STACK=…", f"STACK={stack}")) for problem in problems)
        )
    return settings


def from_pulumi() -> Settings:
    """The settings of the stack that runs. Raises ``SettingsError``."""
    # Imported here: the rest of the module serves commands and tests that run without Pulumi, in a tenth of the time.
    import pulumi  # noqa: PLC0415
    from pulumi.runtime import config as runtime  # noqa: PLC0415

    prefix = f"{pulumi.get_project()}:"
    config = {**runtime.get_config_env(), **runtime.CONFIG.get()}
    own = {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}
    encrypted = frozenset(key for key in own if runtime.is_config_secret(prefix + key))
    return load({key: _decoded(value) for key, value in own.items()}, stack=pulumi.get_stack(), secret_keys=encrypted)


def _decoded(value: str) -> object:
    """A config value as the engine passes it: objects, numbers and booleans are JSON, text is itself."""
    try:
        decoded: object = json.loads(value)
    except json.JSONDecodeError:
        return value
    return decoded


def _json(value: object) -> bytes:
    # YAML has dates, JSON has not; what should have been quoted is then refused as text that is no good. So is half a
    # character, which YAML can escape and UTF-8 has no room for.
    return json.dumps(value, default=str, ensure_ascii=False).encode("utf-8", "replace")


def _sections(given: Mapping[str, object], wrong: set[str]) -> dict[str, object]:
    """The sections of the stack file that are valid in themselves, by field name."""
    sections: dict[str, object] = {}
    for name, field in Settings.model_fields.items():
        alias = str(field.alias)
        if alias in wrong:
            continue
        sections[name] = (
            TypeAdapter(field.rebuild_annotation()).validate_json(_json(given[alias]), by_alias=True, by_name=False)
            if alias in given
            else field.get_default()
        )
    return sections
