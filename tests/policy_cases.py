"""A small stack that keeps every rule over declared objects, and changes of it that break one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from checks.objects.model import Declared, where
from settings.stackfile import merge

Case = Mapping[str, Any]

_FIXTURES = Path(__file__).parent / "unit" / "policies"
CASES, _OBJECTS = (
    yaml.load((_FIXTURES / name).read_text(), Loader=yaml.CSafeLoader) for name in ("cases.yaml", "objects.yaml")
)


def objects(stack: str = "mainnet") -> list[Declared]:
    """The stack that keeps every rule."""
    return [
        Declared(
            urn=f"urn:pulumi:{stack}::gx-backend-infra::{each['type']}::record",
            type=each["type"],
            stack=stack,
            protect=each.get("protect", False),
            inputs=each["inputs"],
        )
        for each in _OBJECTS
    ]


def changed(case: Case) -> list[Declared]:
    """The stack with one object as a case has it."""
    found = objects(case.get("stack", "mainnet"))
    (index,) = [index for index, each in enumerate(found) if where(each) == case["object"]]
    old = found[index]
    inputs = merge(old.inputs, case.get("inputs", {}))
    if "pod" in case or "container" in case:
        owner: Any = inputs["spec"]
        spec = owner["template"]["spec"] = merge(owner["template"]["spec"], case.get("pod", {}))
        spec["containers"] = [merge(spec["containers"][0], case.get("container", {}))]  # type: ignore[index]
    found[index] = Declared(
        urn=old.urn,
        type=case.get("type", old.type),
        stack=old.stack,
        protect=case.get("protect", old.protect),
        inputs=inputs,
    )
    return found
