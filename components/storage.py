"""Volumes of the databases."""

from typing import Any


def volume_claim(name: str, storage_class: str, size: str) -> dict[str, Any]:
    """Claim template of a StatefulSet: one volume per pod, for that pod alone. Immutable once created (X-23)."""
    return {
        "metadata": {"name": name},
        "spec": {
            "access_modes": ["ReadWriteOnce"],
            "storage_class_name": storage_class,
            "resources": {"requests": {"storage": size}},
        },
    }
