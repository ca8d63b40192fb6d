"""Who owns which fields: names of field managers, and taking over what a create (not an apply) wrote.

https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from __future__ import annotations

import secrets
from typing import Any

CREATE_MANAGER = "pulumi-kubernetes"
"""The manager of a create; the first update hands its fields to the object's own apply manager."""

_TAKEN_OVER = {
    ("pulumi-kubernetes", "Update"),
    ("pulumi-resource-kubernetes", "Update"),
    ("kubectl", "Update"),
    ("kubectl", "Apply"),
    ("before-first-apply", "Update"),
}


def new_manager() -> str:
    """A field manager of an object's own, so that two stacks applying the same object conflict instead of fighting."""
    return f"{CREATE_MANAGER}-{secrets.token_hex(4)}"


def take_over(managed_fields: list[dict[str, Any]], manager: str) -> list[dict[str, Any]] | None:
    """The managed fields with taken-over entries merged into ``manager``'s apply entry; ``None`` when nothing changes.

    Entries of sub-resources (``status``) stay. Mirrors ``fixCSAFieldManagers`` of the real plugin.
    """
    taken = [
        entry
        for entry in managed_fields
        if (entry.get("manager"), entry.get("operation")) in _TAKEN_OVER and not entry.get("subresource")
    ]
    if not taken:
        return None
    own = next(
        (entry for entry in managed_fields if entry.get("manager") == manager and entry.get("operation") == "Apply"),
        None,
    )
    fields: dict[str, Any] = {}
    for entry in [own, *taken] if own else taken:
        _merge(fields, entry.get("fieldsV1") or {})
    merged = {**(own or taken[0]), "manager": manager, "operation": "Apply", "fieldsV1": fields}
    return [merged, *(entry for entry in managed_fields if entry not in taken and entry is not own)]


def _merge(into: dict[str, Any], fields: dict[str, Any]) -> None:
    for key, value in fields.items():
        _merge(into.setdefault(key, {}), value)


def created_by_plugin(managed_fields: list[dict[str, Any]]) -> bool:
    """Whether a create of this plugin still owns fields, which a dry run cannot hand over."""
    return any(
        entry.get("operation") == "Update"
        and entry.get("manager") in {"pulumi-kubernetes", "pulumi-resource-kubernetes"}
        for entry in managed_fields
    )
