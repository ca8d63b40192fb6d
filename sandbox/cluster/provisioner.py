"""Volumes for the storage classes `local-path` and `local-path-retain`, as K3s's local-path provisioner makes them.

A claim gets a directory on the node the scheduler chose and a PersistentVolume of type `local` bound to that node. The size
is not enforced. A released volume of a class that deletes loses its directory once its node is running.
Run as `python -m sandbox.cluster.provisioner`; it ends only by a signal.
"""

import shutil
import sys
import threading
import time
from pathlib import Path

import urllib3
from kubernetes import client, config, watch  # type: ignore[import-untyped]

from sandbox import layout as where
from sandbox import netns
from sandbox.layout import Layout

PROVISIONER = "rancher.io/local-path"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"

RESYNC_SECONDS = 15
RETRY_SECONDS = 1
_CONFLICT = 409


class Provisioner:
    """Compares claims and volumes with directories whenever one of them changes, and at least every RESYNC_SECONDS."""

    def __init__(self, layout: Layout) -> None:
        config.load_kube_config(str(layout.kubeconfig))
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
            except (client.ApiException, urllib3.exceptions.HTTPError, OSError) as error:
                _log(f"will try again: {error}")
                time.sleep(RETRY_SECONDS)
                continue
            self._changed.wait(RESYNC_SECONDS)

    def reconcile(self) -> None:
        """Make the volumes that are asked for and delete those that are released."""
        classes = {
            c.metadata.name: c for c in self._storage.list_storage_class().items if c.provisioner == PROVISIONER
        }
        for claim in self._core.list_persistent_volume_claim_for_all_namespaces().items:
            chosen = (claim.metadata.annotations or {}).get(SELECTED_NODE)
            if claim.status.phase == "Pending" and chosen and claim.spec.storage_class_name in classes:
                self._provide(claim, chosen, classes[claim.spec.storage_class_name].reclaim_policy)
        for volume in self._core.list_persistent_volume().items:
            ours = (volume.metadata.annotations or {}).get(PROVISIONED_BY) == PROVISIONER
            if ours and volume.status.phase == "Released" and volume.spec.persistent_volume_reclaim_policy == "Delete":
                self._withdraw(volume)

    def _provide(self, claim: client.V1PersistentVolumeClaim, node_name: str, reclaim_policy: str) -> None:
        directory = f"pvc-{claim.metadata.uid}_{claim.metadata.namespace}_{claim.metadata.name}"
        host_directory = self._layout.volumes(node_name) / directory
        host_directory.mkdir(parents=True, exist_ok=True)
        host_directory.chmod(0o777)
        volume = client.V1PersistentVolume(
            metadata=client.V1ObjectMeta(
                name=f"pvc-{claim.metadata.uid}", annotations={PROVISIONED_BY: PROVISIONER}
            ),
            spec=client.V1PersistentVolumeSpec(
                capacity={"storage": claim.spec.resources.requests["storage"]},
                access_modes=claim.spec.access_modes,
                persistent_volume_reclaim_policy=reclaim_policy,
                storage_class_name=claim.spec.storage_class_name,
                volume_mode=claim.spec.volume_mode,
                local=client.V1LocalVolumeSource(path=f"{where.VOLUMES_DIRECTORY}/{directory}"),
                claim_ref=client.V1ObjectReference(
                    api_version="v1",
                    kind="PersistentVolumeClaim",
                    namespace=claim.metadata.namespace,
                    name=claim.metadata.name,
                    uid=claim.metadata.uid,
                ),
                node_affinity=_only_on(node_name),
            ),
        )
        try:
            self._core.create_persistent_volume(volume)
        except client.ApiException as error:
            if error.status != _CONFLICT:
                raise
        _log(f"{claim.metadata.namespace}/{claim.metadata.name}: {directory} on {node_name}")

    def _withdraw(self, volume: client.V1PersistentVolume) -> None:
        terms = volume.spec.node_affinity.required.node_selector_terms
        node_name = terms[0].match_expressions[0].values[0]
        if not netns.running(self._layout, node_name):
            return
        directory = Path(volume.spec.local.path).name
        shutil.rmtree(self._layout.volumes(node_name) / directory, ignore_errors=True)
        self._core.delete_persistent_volume(volume.metadata.name)
        _log(f"{volume.metadata.name}: deleted from {node_name}")

    def _notice(self, listing: object) -> None:
        while True:
            try:
                for _ in watch.Watch().stream(listing, timeout_seconds=300):
                    self._changed.set()
            except (client.ApiException, urllib3.exceptions.HTTPError, OSError) as error:
                _log(f"will watch again: {error}")
                time.sleep(RETRY_SECONDS)


def _only_on(node_name: str) -> client.V1VolumeNodeAffinity:
    expression = client.V1NodeSelectorRequirement(key="kubernetes.io/hostname", operator="In", values=[node_name])
    term = client.V1NodeSelectorTerm(match_expressions=[expression])
    return client.V1VolumeNodeAffinity(required=client.V1NodeSelector(node_selector_terms=[term]))


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    Provisioner(where.current()).run()
