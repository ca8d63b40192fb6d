"""Volumes for the storage classes `local-path` and `local-path-retain`, as K3s's local-path provisioner makes them.

A claim gets a directory on the node the scheduler chose and a PersistentVolume of type `local` bound to that node. The
size is not enforced. A released volume of a class that deletes loses its directory once its node is running.
Run as `python -m sandbox.cluster.provisioner`; it ends only by a signal.
"""

import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config, watch

from sandbox import layout as where
from sandbox import netns
from sandbox.layout import Layout

PROVISIONER = "rancher.io/local-path"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"

RESYNC_SECONDS = 15
RETRY_SECONDS = 1
_CONFLICT = 409
_UNREACHABLE = (client.ApiException, urllib3.exceptions.HTTPError, OSError)

Json = dict[str, Any]


class Provisioner:
    """Compares claims and volumes with directories whenever one of them changes, and at least every RESYNC_SECONDS."""

    def __init__(self, layout: Layout) -> None:
        config.load_kube_config(str(layout.kubeconfig))  # type: ignore[no-untyped-call]
        self._layout = layout
        self._core = client.CoreV1Api()
        self._storage = client.StorageV1Api()
        self._changed = threading.Event()

    def run(self) -> None:
        """Work until the process is ended. An unreachable API server is tried again."""
        for listing in (self._core.list_persistent_volume_claim_for_all_namespaces, self._core.list_persistent_volume):
            threading.Thread(target=self._notice, args=(listing,), daemon=True).start()
        while True:
            self._changed.clear()
            try:
                self.reconcile()
            except _UNREACHABLE as error:
                _log(f"will try again: {error}")
                time.sleep(RETRY_SECONDS)
                continue
            self._changed.wait(RESYNC_SECONDS)

    def reconcile(self) -> None:
        """Make the volumes that are asked for and delete those that are released."""
        policies = {
            item["metadata"]["name"]: item["reclaimPolicy"]
            for item in _items(self._storage.list_storage_class())
            if item["provisioner"] == PROVISIONER
        }
        for claim in _items(self._core.list_persistent_volume_claim_for_all_namespaces()):
            chosen = claim["metadata"].get("annotations", {}).get(SELECTED_NODE)
            policy = policies.get(claim["spec"].get("storageClassName"))
            if claim["status"]["phase"] == "Pending" and chosen and policy:
                self._provide(claim, chosen, policy)
        for volume in _items(self._core.list_persistent_volume()):
            ours = volume["metadata"].get("annotations", {}).get(PROVISIONED_BY) == PROVISIONER
            deletes = volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
            if ours and deletes and volume["status"]["phase"] == "Released":
                self._withdraw(volume)

    def _provide(self, claim: Json, node_name: str, reclaim_policy: str) -> None:
        metadata, spec = claim["metadata"], claim["spec"]
        directory = f"pvc-{metadata['uid']}_{metadata['namespace']}_{metadata['name']}"
        host_directory = self._layout.volumes(node_name) / directory
        host_directory.mkdir(parents=True, exist_ok=True)
        host_directory.chmod(0o777)
        volume = client.V1PersistentVolume(
            metadata=client.V1ObjectMeta(name=f"pvc-{metadata['uid']}", annotations={PROVISIONED_BY: PROVISIONER}),
            spec=client.V1PersistentVolumeSpec(
                capacity={"storage": spec["resources"]["requests"]["storage"]},
                access_modes=spec["accessModes"],
                persistent_volume_reclaim_policy=reclaim_policy,
                storage_class_name=spec["storageClassName"],
                volume_mode=spec["volumeMode"],
                local=client.V1LocalVolumeSource(path=f"{where.VOLUMES_DIRECTORY}/{directory}"),
                claim_ref=client.V1ObjectReference(
                    api_version="v1",
                    kind="PersistentVolumeClaim",
                    namespace=metadata["namespace"],
                    name=metadata["name"],
                    uid=metadata["uid"],
                ),
                node_affinity=_only_on(node_name),
            ),
        )
        try:
            self._core.create_persistent_volume(volume)
        except client.ApiException as error:
            if error.status != _CONFLICT:
                raise
        _log(f"{metadata['namespace']}/{metadata['name']}: {directory} on {node_name}")

    def _withdraw(self, volume: Json) -> None:
        name, spec = volume["metadata"]["name"], volume["spec"]
        node_name = spec["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"][0]
        if not netns.running(self._layout, node_name):
            return
        shutil.rmtree(self._layout.volumes(node_name) / Path(spec["local"]["path"]).name, ignore_errors=True)
        self._core.delete_persistent_volume(name)
        _log(f"{name}: deleted from {node_name}")

    def _notice(self, listing: Callable[..., object]) -> None:
        while True:
            try:
                for _ in watch.Watch().stream(listing, timeout_seconds=300):  # type: ignore[no-untyped-call]
                    self._changed.set()
            except _UNREACHABLE as error:
                _log(f"will watch again: {error}")
                time.sleep(RETRY_SECONDS)


def _items(listed: object) -> list[Json]:
    """The objects of an answer as the API sends them, where absent fields are absent."""
    items: list[Json] = client.ApiClient().sanitize_for_serialization(listed)["items"]  # type: ignore[no-untyped-call]
    return items


def _only_on(node_name: str) -> client.V1VolumeNodeAffinity:
    expression = client.V1NodeSelectorRequirement(key="kubernetes.io/hostname", operator="In", values=[node_name])
    term = client.V1NodeSelectorTerm(match_expressions=[expression])
    return client.V1VolumeNodeAffinity(required=client.V1NodeSelector(node_selector_terms=[term]))


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    Provisioner(where.current()).run()
