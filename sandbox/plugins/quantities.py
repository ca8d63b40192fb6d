"""Equality of resource quantities: ``1000m`` and ``1`` are the same amount, and the API server stores the shorter one.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from decimal import Decimal

_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}
_QUANTITY = re.compile(r"^([+-]?\d+(?:\.\d*)?)([eE][+-]?\d+)?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|)$")

QUANTITY_MAPS = frozenset(
    {"requests", "limits", "hard", "default", "defaultRequest", "min", "max", "maxLimitRequestRatio", "capacity"}
)
"""Keys of the maps whose values are quantities in the kinds the stand-in knows."""

QUANTITY_FIELDS = frozenset({"sizeLimit", "divisor"})
"""Keys whose own value is a quantity."""


def same_quantity(left: object, right: object) -> bool:
    """Whether two values are the same amount; values that are no quantities are never the same."""
    amounts = [_amount(value) for value in (left, right)]
    return amounts[0] is not None and amounts[0] == amounts[1]


def _amount(value: object) -> Decimal | None:
    match = _QUANTITY.match(str(value))
    if match is None:
        return None
    return Decimal(match[1] + (match[2] or "")) * _SUFFIXES[match[3]]
