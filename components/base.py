"""What every component shares: how children are named, parented and given options."""

import hashlib
import json
from collections.abc import Mapping
from typing import TypedDict, Unpack

import pulumi
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

PROJECT = "gx"


class ChildOptions(TypedDict, total=False):
    """The resource options that a component may give a child; ``parent`` is always the component."""

    additional_secret_outputs: list[str]
    aliases: list[pulumi.Alias]
    custom_timeouts: pulumi.CustomTimeouts
    delete_before_replace: bool
    depends_on: list[pulumi.Resource]
    hooks: pulumi.ResourceHookBinding
    ignore_changes: list[str]
    protect: bool
    provider: pulumi.ProviderResource
    retain_on_delete: bool


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

    def child(self, **options: Unpack[ChildOptions]) -> pulumi.ResourceOptions:
        """Options of a child: this component as the parent, and what is given here."""
        return pulumi.ResourceOptions(parent=self, **options)


def content_hash(content: Mapping[str, str] | str) -> str:
    """Short digest of rendered content, for pod annotations: a changed file rolls exactly the pods that read it."""
    text = content if isinstance(content, str) else json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def owned(
    name: str,
    namespace: pulumi.Input[str] | None = None,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> ObjectMetaArgs:
    """Metadata of an object that the program wholly owns.

    Such an object takes its fields back from whoever edited them by hand (patch force); shared objects must not.
    https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/managing-resources-with-server-side-apply/
    """
    return ObjectMetaArgs(
        name=name,
        namespace=namespace,
        labels=dict(labels) if labels else None,
        annotations={"pulumi.com/patchForce": "true"} | dict(annotations or {}),
    )
