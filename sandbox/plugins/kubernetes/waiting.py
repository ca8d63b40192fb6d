"""Waits for objects to become ready or to be gone, by watching them, and says meanwhile what they wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from sandbox.plugins.kubernetes import ready
from sandbox.plugins.kubernetes.client import ApiError, Client, UnreachableError
from sandbox.plugins.kubernetes.kinds import Kind
from sandbox.plugins.kubernetes.ready import Object, Readiness
from sandbox.plugins.provider import EngineLog, Severity

DEFAULT_SECONDS = 600.0
_CLAIM_SECONDS = 300.0
_QUOTA_SECONDS = 60.0
_SETTLE_SECONDS = 10.0
"""How long a Service's endpoints must stay unchanged to count as settled (``service.go`` of the real plugin)."""
_REPORT_SECONDS = 10.0
_PAUSE_SECONDS = 0.2


class NotReadyError(Exception):
    """An object exists but did not become ready in time; carries its last state and the reasons."""

    def __init__(self, message: str, live: Object, reasons: list[str]) -> None:
        super().__init__(message)
        self.live = live
        self.reasons = reasons


@dataclass(frozen=True)
class Waiter:
    """Waits on one API server. ``cancelled`` ends every wait soon."""

    client: Client
    log: EngineLog
    cancelled: threading.Event

    def until_ready(self, urn: str, kind: Kind, obj: Object, seconds: float, *, updating: bool) -> Object:
        """The object once it is ready. Raises :class:`NotReadyError` on failure, cancellation or after ``seconds``."""
        if kind.kind == "Service":
            return self._until_settled(urn, kind, obj, seconds)
        if kind.kind == "PersistentVolumeClaim":
            mode = self._binding_mode(obj)
            seconds = min(seconds, _CLAIM_SECONDS)
            return self._wait(
                urn, kind, obj, seconds, lambda live: ready.claim_readiness(live, mode, updating=updating)
            )
        if not ready.has_rule(obj):
            return obj
        if kind.kind == "ResourceQuota":
            seconds = min(seconds, _QUOTA_SECONDS)
        return self._wait(urn, kind, obj, seconds, ready.readiness)

    def until_gone(self, urn: str, kind: Kind, qualified: tuple[str, str], uid: str, seconds: float) -> None:
        """Return once the object does not exist any more, or another of the same name took its place."""
        namespace, name = qualified
        live: Object = {"metadata": {"name": name, "namespace": namespace}}
        for state in self._states(kind.collection(namespace), name, seconds):
            if state is None or (uid and state["metadata"]["uid"] != uid):
                return
            live = state
            self.log.status(Severity.INFO, "Waiting for the object to be deleted", urn)
        finalizers = ", ".join(live["metadata"].get("finalizers") or []) or "none"
        raise NotReadyError(self._ended(name, "deleted"), live, [f"finalizers still set: {finalizers}"])

    def read_reasons(self, kind: Kind, live: Object) -> list[str]:
        """Why a live object is not ready right now; empty when it is or when its kind has no such rule."""
        if kind.kind in {"Service", "PersistentVolumeClaim", "ResourceQuota"}:
            return []
        verdict = ready.readiness(live)
        return [] if verdict.ready else [*verdict.problems, *self._pod_problems(live)]

    def _wait(self, urn: str, kind: Kind, obj: Object, seconds: float, rule: Callable[[Object], Readiness]) -> Object:
        live, verdict = obj, Readiness(ready=False)
        shown, reported = "", time.monotonic()
        namespace = obj["metadata"].get("namespace", "")
        for state in self._states(kind.collection(namespace), obj["metadata"]["name"], seconds):
            if state is None:
                continue
            live, verdict = state, rule(state)
            if verdict.ready:
                return live
            if verdict.failed:
                message = f"'{obj['metadata']['name']}' failed: {'; '.join(verdict.problems)}"
                raise NotReadyError(message, live, [*verdict.problems, *self._pod_problems(live)])
            progress = verdict.progress
            if time.monotonic() - reported > _REPORT_SECONDS:
                reported = time.monotonic()
                progress = "; ".join([progress, *self._pod_problems(live)])
            if progress != shown:
                self.log.status(Severity.INFO, progress, urn)
                shown = progress
        reasons = [*verdict.problems, *self._pod_problems(live)]
        raise NotReadyError(self._ended(obj["metadata"]["name"], "Ready"), live, reasons)

    def _until_settled(self, urn: str, kind: Kind, obj: Object, seconds: float) -> Object:
        if not ready.needs_endpoints(obj):
            return obj
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        collection = f"/api/v1/namespaces/{namespace}/endpoints"
        self.log.status(Severity.INFO, "Finding Pods to direct traffic to", urn)
        endpoints: Object | None = None
        version, changed = "", time.monotonic()
        for state in self._states(collection, name, seconds, window=_SETTLE_SECONDS / 4):
            endpoints = state
            seen = state["metadata"]["resourceVersion"] if state else ""
            if seen != version:
                version, changed = seen, time.monotonic()
            settled = bool(version) and time.monotonic() - changed >= _SETTLE_SECONDS
            if settled and not ready.pending_endpoints(endpoints):
                return self.client.get(f"{kind.collection(namespace)}/{name}")
        reason = (
            "Service does not target any Pods. Selected Pods may not be ready, or field '.spec.selector' may not match "
            "labels on any Pods"
        )
        raise NotReadyError(self._ended(name, "Ready"), obj, [reason])

    def _states(
        self, collection: str, name: str, seconds: float, window: float = _REPORT_SECONDS
    ) -> Iterator[Object | None]:
        """The object's states until the deadline or cancellation, repeated at least every ``window`` seconds."""
        deadline = time.monotonic() + seconds
        while not self.cancelled.is_set():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            try:
                for state in self.client.watch(collection, name, min(window, remaining)):
                    yield state
                    if self.cancelled.is_set():
                        return
            except UnreachableError:
                self.cancelled.wait(1.0)
            self.cancelled.wait(_PAUSE_SECONDS)

    def _ended(self, name: str, goal: str) -> str:
        if self.cancelled.is_set():
            return f'Resource operation was cancelled for "{name}"'
        return f"'{name}' timed out waiting to be {goal}"

    def _binding_mode(self, claim: Object) -> str:
        name = claim["spec"].get("storageClassName")
        if not name:
            return ""
        try:
            return str(self.client.get(f"/apis/storage.k8s.io/v1/storageclasses/{name}").get("volumeBindingMode", ""))
        except ApiError:
            return ""

    def _pod_problems(self, owner: Object) -> list[str]:
        """The problems of the pods an object selects, newest template first; best effort."""
        labels = (owner["spec"].get("selector") or {}).get("matchLabels") if "spec" in owner else None
        if not labels:
            return []
        selector = quote(",".join(f"{key}={value}" for key, value in labels.items()))
        path = f"/api/v1/namespaces/{owner['metadata']['namespace']}/pods?labelSelector={selector}"
        try:
            pods = self.client.get(path).get("items") or []
        except (ApiError, UnreachableError):
            return []
        return sorted({problem for pod in pods for problem in ready.pod_problems(pod)})
