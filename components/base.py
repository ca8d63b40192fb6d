"""What every component shares: how children are named, parented and given options."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pulumi

PROJECT = "gx"


class Component(pulumi.ComponentResource):
    """Base of all components.

    Invariants: the type token is ``gx:<area>:<Class>`` and never names an instance; every child is parented to its
    component and its logical name starts with the component's name; the caller's ``opts`` reach ``super()`` alone.
    A subclass sets ``area``, declares its outputs as typed attributes and ends its constructor with
    ``register_outputs`` of the same names.
    """

    area: str

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None) -> None:
        super().__init__(f"{PROJECT}:{self.area}:{type(self).__name__}", name, None, opts)
        self.name = name

    def child_name(self, part: str) -> str:
        """Logical name of a child: the component's name and what the child is."""
        return f"{self.name}-{part}"

    def child(self, **options: Any) -> pulumi.ResourceOptions:
        """Options of a child: this component as the parent, and what is given here."""
        return pulumi.ResourceOptions(parent=self, **options)


def content_hash(content: Mapping[str, str] | str) -> str:
    """Short digest of rendered content, for pod annotations: a changed file rolls exactly the pods that read it."""
    text = content if isinstance(content, str) else json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# Objects that the program wholly owns take their fields back from whoever edited them by hand; shared objects never do.
# https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/managing-resources-with-server-side-apply/
OWNED = {"pulumi.com/patchForce": "true"}
