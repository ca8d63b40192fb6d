"""A changed size of a volume in the program: nothing is replaced, and the change is there to be seen and judged."""

from typing import Any

import pytest
from pulumi import ResourceHookArgs

from components.storage import VOLUME
from tests import capture
from tests.capture import Capture, Registered

SIZES: dict[str, object] = {
    "postgres": {"storage": "120Gi"},
    "redis": {"storage": "30Gi"},
    "backups": {
        "postgres": {"storage": "60Gi"},
        "redis": {"storage": "25Gi"},
        "pointInTime": {"storage": "80Gi"},
    },
    "quota": {"requestsStorage": "1Ti"},
}
KEPT = {
    ("StatefulSet", "postgres"): "postgres.storage",
    ("StatefulSet", "redis"): "redis.storage",
    ("PersistentVolumeClaim", "postgres-backups"): "backups.postgres.storage",
    ("PersistentVolumeClaim", "redis-backups"): "backups.redis.storage",
    ("PersistentVolumeClaim", "postgres-base-backups"): "backups.pointInTime.storage",
}


def volumes(program: Capture) -> dict[tuple[str, str], Registered]:
    return {found: program.one(*found) for found in KEPT}


def test_what_a_claim_was_created_with_is_never_changed_and_what_is_wanted_is_noted(mainnet: Capture) -> None:
    grown = volumes(capture.stack("mainnet", SIZES))
    for found, before in volumes(mainnet).items():
        ignored = grown[found].ignore_changes
        assert ignored == (("spec.volumeClaimTemplates",) if found[0] == "StatefulSet" else ("spec",))
        notes = [each.inputs["metadata"]["annotations"][VOLUME] for each in (before, grown[found])]
        assert notes[0] != notes[1]
        kept = [
            {key: value for key, value in each.inputs["spec"].items() if key != "volumeClaimTemplates"}
            for each in (before, grown[found])
        ]
        assert found[0] != "StatefulSet" or kept[0] == kept[1], "a changed size rolls the instances"


def test_every_kind_of_claim_is_kept(mainnet: Capture) -> None:
    """A new StatefulSet or claim of the stack needs the same."""
    found = {
        (kind, each.kubernetes_name) for kind in ("StatefulSet", "PersistentVolumeClaim") for each in mainnet.of(kind)
    }
    assert found == set(KEPT)


def update(program: Capture, resource: Registered, old: dict[str, Any], new: dict[str, Any]) -> None:
    """What the engine does before an update, and before the preview of one."""
    (name,) = resource.before_update
    hook = program.hooks[name]
    assert hook.opts is not None
    assert hook.opts.on_dry_run
    hook(ResourceHookArgs(resource.urn, "", resource.name, resource.type, old_inputs=old, new_inputs=new))


def test_growing_passes_and_shrinking_is_refused_by_its_key(mainnet: Capture) -> None:
    program = capture.stack("mainnet", SIZES)
    large, small = volumes(program), volumes(mainnet)
    for found, setting in KEPT.items():
        resource = large[found]
        update(program, resource, small[found].inputs, resource.inputs)
        with pytest.raises(ValueError, match=f"^{setting}: a volume cannot shrink"):
            update(program, resource, resource.inputs, small[found].inputs)


def test_a_state_from_before_the_note_is_judged_by_its_claims(mainnet: Capture) -> None:
    for found, setting in KEPT.items():
        resource = mainnet.one(*found)
        metadata: dict[str, Any] = resource.inputs["metadata"]
        before = resource.inputs | {"metadata": {"name": metadata["name"]}}
        update(mainnet, resource, before, resource.inputs)
        noted = {"metadata": metadata | {"annotations": {VOLUME: "1Gi local-path-retain"}}}
        with pytest.raises(ValueError, match=f"^{setting}: a volume cannot shrink"):
            update(mainnet, resource, before, resource.inputs | noted)


def test_a_larger_volume_touches_what_follows_its_size_and_no_pod_of_the_database(mainnet: Capture) -> None:
    before, after = (
        {each.urn: each for each in program.resources}
        for program in (mainnet, capture.stack("mainnet", {"postgres": {"storage": "103Gi"}}))
    )
    changed = {each.kubernetes_name for urn, each in after.items() if each.inputs != before[urn].inputs}
    follows = {"postgres-restore-test", "postgres-archive", "postgres-base-backup"}
    monitoring = {"backend-mainnet-prometheus", "backend-mainnet-dashboard-database"}
    assert changed == {"postgres"} | follows | monitoring
