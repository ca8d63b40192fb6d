"""Volumes of the databases: never replaced or shrunk by a change of settings (X-18, X-23).

A claim cannot change once it exists, and a local volume can neither grow nor move. So what the claims were created with
is ignored afterwards, and what the settings want stands in an annotation: a change shows in the preview, and a hook of
the engine holds it against the state. Growing and moving are docs/runbooks/volumes.md.
"""

from collections.abc import Mapping
from typing import Any

import pulumi

from settings.types import amount

VOLUME = "gxcoin.money/volume"
# Paths of what only the creation of an object may decide.
CLAIM_TEMPLATES = ["spec.volumeClaimTemplates"]
CLAIM = ["spec"]


def claim_spec(storage_class: str, size: str) -> dict[str, Any]:
    """Spec of a claim of one volume for one pod."""
    return {
        "access_modes": ["ReadWriteOnce"],
        "storage_class_name": storage_class,
        "resources": {"requests": {"storage": size}},
    }


def volume_claim(name: str, storage_class: str, size: str) -> dict[str, Any]:
    """Claim template of a StatefulSet: one volume per pod, for that pod alone. Immutable once created (X-23)."""
    return {"metadata": {"name": name}, "spec": claim_spec(storage_class, size)}


def volume_annotation(storage_class: str, size: str) -> dict[str, str]:
    """What the settings want the volumes of an object to be."""
    return {VOLUME: f"{size} {storage_class}"}


def kept_volumes(name: str, setting: str) -> pulumi.ResourceHookBinding:
    """What stops an update of an object, and its preview, that would shrink its volumes or take them to another class.

    ``name`` is the object's logical name, ``setting`` the key of the size in the stack file.
    """

    def keep(args: pulumi.ResourceHookArgs) -> None:
        refuse_other_volumes(setting, _wanted(args.old_inputs), _wanted(args.new_inputs))

    hook = pulumi.ResourceHook(f"{name}-volume", keep, opts=pulumi.ResourceHookOptions(on_dry_run=True))
    return pulumi.ResourceHookBinding(before_update=[hook])


def refuse_other_volumes(setting: str, deployed: str, wanted: str) -> None:
    """Raise ``ValueError`` when volumes would shrink or change their class; both as the annotation has them."""
    (old_size, old_class), (new_size, new_class) = deployed.split(), wanted.split()
    remedy = "or move the data (docs/runbooks/volumes.md)"
    if amount(new_size) < amount(old_size):
        raise ValueError(f"{setting}: a volume cannot shrink. Got '{new_size}'. Fix: {old_size}, as deployed, {remedy}")
    if new_class != old_class:
        raise ValueError(
            f"cluster.storageClass: the volumes of {setting} exist. Got '{new_class}'. Fix: {old_class}, {remedy}"
        )


def _wanted(inputs: Mapping[str, Any] | None) -> str:
    """The annotation; of an object from before it, what its claims say."""
    given = inputs or {}
    noted = given["metadata"].get("annotations", {}).get(VOLUME)
    if noted is not None:
        return str(noted)
    claim = given["spec"].get("volumeClaimTemplates", [given])[0]["spec"]
    return f"{claim['resources']['requests']['storage']} {claim.get('storageClassName', 'the-default')}"
