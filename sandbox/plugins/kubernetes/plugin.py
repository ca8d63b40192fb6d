"""The Kubernetes provider: check, diff, create, update, delete, read.

Configure, Check and Diff make no request, so that a run that changes no Kubernetes object does not need the API server.
Semantics follow the real plugin's source, https://github.com/pulumi/pulumi-kubernetes/blob/master/provider/pkg/provider/provider.go
and ``.../await/await.go``; where they differ, ``sandbox/plugins/README.md`` says so.
"""

from __future__ import annotations

import threading

from typing_extensions import override

from sandbox.plugins import versions
from sandbox.plugins.diffing import changes, parse_path, value_at
from sandbox.plugins.kubernetes import objects, settings
from sandbox.plugins.kubernetes.client import ApiError, Client, Cluster, UnreachableError, load_cluster
from sandbox.plugins.kubernetes.kinds import ANNOUNCEMENT, Kind, kind_of
from sandbox.plugins.kubernetes.ownership import CREATE_MANAGER, created_by_plugin, new_manager, take_over
from sandbox.plugins.kubernetes.ready import readiness
from sandbox.plugins.kubernetes.waiting import DEFAULT_SECONDS, NotReadyError, Waiter
from sandbox.plugins.provider import (
    Change,
    ChangeKind,
    CheckResult,
    Diff,
    EngineLog,
    Existing,
    InitFailedError,
    Properties,
    Provider,
    ProviderError,
    Severity,
    resource_name,
    resource_type,
)
from sandbox.plugins.values import Json, Unknown, has_unknown, plain

_APPLY = "application/apply-patch+yaml"
_JSON_PATCH = "application/json-patch+json"
_NAMESPACE_RETRIES = 5
_CONFLICT_HELP = (
    "server-side apply field conflict detected, see https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/"
    "managing-resources-with-server-side-apply/#handle-field-conflicts-on-existing-resources for troubleshooting help"
)
_EXISTS_HELP = (
    "The resource already exists in the cluster. Import it with `pulumi import` (or the `import_` resource option), "
    "use an alias when a resource was renamed, or set upsertExistingObjects on the provider"
)
_IMMUTABLE_DATA = ("data", "binaryData")
_REPLACE_UNREADY = 'metadata.annotations["pulumi.com/replaceUnready"]'


class KubernetesProvider(Provider):
    """See :class:`sandbox.plugins.provider.Provider`."""

    version = versions.KUBERNETES
    announcement = ANNOUNCEMENT

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._unreachable = ""

    @override
    def check_config(self, olds: Properties, news: Properties) -> CheckResult:
        settings.parse({key: value for key, value in news.items() if not isinstance(value, Unknown)})
        return CheckResult(news)

    @override
    def diff_config(self, olds: Properties, news: Properties) -> Diff:
        old, new = plain(olds), plain(news)
        changed = {key for key in {*old, *new} if old.get(key) != new.get(key)}
        found = dict.fromkeys(sorted(changed), ChangeKind.UPDATE)
        before, after = old.get("clusterIdentifier"), new.get("clusterIdentifier")
        if after and before == after:
            return Diff(found)
        if before and after:
            found["clusterIdentifier"] = ChangeKind.UPDATE_REPLACE
        locating = [key for key in ("kubeconfig", "context", "cluster") if key in changed]
        if locating and self._other_cluster(old, new):
            found.update(dict.fromkeys(locating, ChangeKind.UPDATE_REPLACE))
        return Diff(found)

    @staticmethod
    def _other_cluster(old: Properties, new: Properties) -> bool:
        if any(isinstance(new.get(key), Unknown) for key in ("kubeconfig", "context", "cluster")):
            return True
        found: list[Cluster] = []
        for inputs in (old, new):
            parsed = settings.parse(inputs)
            try:
                found.append(load_cluster(parsed.kubeconfig, parsed.context, parsed.cluster))
            except ProviderError:
                return False
        return found[0].identity != found[1].identity

    @override
    def configure(self, inputs: Properties, log: EngineLog) -> None:
        self._log = log
        self._settings = settings.parse(inputs)
        cluster = None
        try:
            cluster = load_cluster(self._settings.kubeconfig, self._settings.context, self._settings.cluster)
        except ProviderError as error:
            self._unreachable = f"configured Kubernetes cluster is unreachable: {error}"
        self._namespace = self._settings.namespace or (cluster.namespace if cluster else "") or "default"
        if cluster:
            self._client = Client(cluster)
            self._waiter = Waiter(self._client, log, self._cancelled)

    @override
    def cancel(self) -> None:
        self._cancelled.set()

    @override
    def check(self, urn: str, olds: Properties, news: Properties, seed: bytes) -> CheckResult:
        kind = kind_of(resource_type(urn))
        given = {"apiVersion": kind.api_version, "kind": kind.kind, **news}
        inputs = objects.fill_name(plain(given), plain(olds), resource_name(urn), seed)
        metadata = inputs.get("metadata")
        if isinstance(metadata, dict):
            if "generateName" in metadata:
                raise ProviderError("the `.metadata.generateName` field is not supported in Server-Side Apply mode")
            if kind.namespaced and not metadata.get("namespace"):
                inputs["metadata"] = {**metadata, "namespace": self._namespace}
        return CheckResult(objects.mark_secret_inputs(inputs, given))

    @override
    def diff(self, urn: str, olds: Properties, old_inputs: Properties, news: Properties, ignore: list[str]) -> Diff:
        kind = kind_of(resource_type(urn))
        recorded, live = objects.split_state(olds)
        new = objects.normalise(news)
        pruned = objects.prune(live, objects.normalise(recorded))
        pruned.setdefault("apiVersion", new["apiVersion"])
        pruned.setdefault("kind", new["kind"])
        if isinstance(pruned.get("metadata"), dict):
            pruned["metadata"]["name"] = live["metadata"]["name"]
            if kind.namespaced:
                pruned["metadata"]["namespace"] = live["metadata"]["namespace"]
        found = changes(pruned, new, self._replace_on(kind, new), ignore)
        if kind.kind == "Job" and objects.annotation(new, "replaceUnready") == "true" and not readiness(live).ready:
            found[_REPLACE_UNREADY] = ChangeKind.UPDATE_REPLACE
        metadata = new.get("metadata")
        fixed_name = (
            isinstance(metadata, dict)
            and metadata.get("name") == live["metadata"]["name"]
            and metadata.get("namespace") == live["metadata"].get("namespace")
            and objects.annotation(new, "autonamed") != "true"
        )
        replaces = any(change.replaces for change in found.values())
        return Diff(found, delete_before_replace=replaces and fixed_name)

    def _replace_on(self, kind: Kind, new: Properties) -> tuple[str, ...]:
        paths = ("metadata.name", "metadata.namespace", *kind.replace_on)
        immutable = new.get("immutable") is True
        if kind.kind == "ConfigMap" and (immutable or not self._settings.configmap_mutable):
            return (*paths, *_IMMUTABLE_DATA)
        if kind.kind == "Secret" and (immutable or not self._settings.secret_mutable):
            return (*paths, "data", "stringData")
        return paths

    @override
    def create(self, urn: str, inputs: Properties, timeout: float, preview: bool) -> tuple[str, Properties]:
        kind = kind_of(resource_type(urn))
        if preview and (self._unreachable or has_unknown(inputs)):
            return "", inputs
        body = plain(inputs)
        manager = objects.annotation(body, "patchFieldManager") or new_manager()
        try:
            live = self._submit(kind, body, manager, preview)
        except UnreachableError as error:
            if not preview:
                raise
            self._unreachable = str(error)
            return "", inputs
        except ApiError as error:
            if preview and (error.namespace_missing or error.code in {403, 409}):
                return "", inputs
            hint = f"\n\n{_EXISTS_HELP}" if error.reason == "AlreadyExists" else ""
            message = f'resource "{urn}" was not successfully created by the Kubernetes API server: {error}{hint}'
            raise ProviderError(message) from error
        if preview:
            live.pop("status", None)
            return "", objects.checkpoint(live, inputs, manager)
        try:
            live = self._await(urn, kind, body, live, timeout, updating=False)
        except NotReadyError as error:
            message = (
                f'resource "{urn}" was successfully created, but the Kubernetes API server reported that it failed to '
                f"fully initialize or become live: {error}"
            )
            raise InitFailedError(
                message,
                objects.qualified_name(error.live),
                objects.checkpoint(error.live, inputs, manager),
                error.reasons,
            ) from error
        return objects.qualified_name(live), objects.checkpoint(live, inputs, manager)

    def _submit(self, kind: Kind, body: Properties, manager: str, preview: bool) -> Properties:
        """Create ``body``; a namespace created in the same run may appear a moment later, so that is waited for."""
        self._require_reachable()
        collection = kind.collection(str(body["metadata"].get("namespace", "")))
        dry_run = {"dryRun": "All"} if preview else {}
        for attempt in range(_NAMESPACE_RETRIES):
            try:
                if self._settings.upsert:
                    force = "true" if preview or self._forced(body) else "false"
                    path = f"{collection}/{body['metadata']['name']}"
                    return self._client.patch(path, body, _APPLY, fieldManager=manager, force=force, **dry_run)
                return self._client.post(collection, body, fieldManager=CREATE_MANAGER, **dry_run)
            except ApiError as error:
                last = attempt == _NAMESPACE_RETRIES - 1
                if preview or error.code != 404 or last:
                    raise
                self._cancelled.wait(2.0**attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    @override
    def update(self, change: Change) -> Properties:
        kind = kind_of(resource_type(change.urn))
        if change.preview and (self._unreachable or has_unknown(change.news)):
            return change.news
        body = objects.normalise(change.news)
        recorded = change.olds.get(objects.FIELD_MANAGER_KEY)
        manager = objects.annotation(body, "patchFieldManager") or recorded or new_manager()
        namespace, name = objects.split_id(change.resource_id)
        path = f"{kind.collection(namespace)}/{name}"
        try:
            live = self._apply(path, body, manager, change.ignore, change.preview)
        except UnreachableError as error:
            if not change.preview:
                raise
            self._unreachable = str(error)
            return change.news
        except ApiError as error:
            if change.preview and error.code == 403:
                return change.news
            message = f'update of resource "{change.urn}" failed: {self._explained(error, manager)}'
            raise ProviderError(message) from error
        if change.preview:
            return objects.checkpoint(live, change.news, manager)
        try:
            live = self._await(change.urn, kind, body, live, change.timeout, updating=True)
        except NotReadyError as error:
            message = (
                f'the Kubernetes API server reported that "{change.resource_id}" failed to fully initialize or '
                f"become live: {error}"
            )
            state = objects.checkpoint(error.live, change.news, manager)
            raise InitFailedError(message, change.resource_id, state, error.reasons) from error
        return objects.checkpoint(live, change.news, manager)

    def _apply(self, path: str, body: Properties, manager: str, ignore: list[str], preview: bool) -> Properties:
        self._require_reachable()
        live = self._client.get(path) if preview else self._owned(path, manager)
        fields = live["metadata"].get("managedFields") or []
        force = self._forced(body) or not fields or (preview and created_by_plugin(fields))
        for text in ignore:
            _keep_live(body, live, text)
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        if preview:
            query["dryRun"] = "All"
        return self._client.patch(path, body, _APPLY, **query)

    def _owned(self, path: str, manager: str) -> Properties:
        """The live object, whose fields of earlier managers are this one's now; a controller may write it meanwhile."""
        while True:
            live = self._client.get(path)
            taken = take_over(live["metadata"].get("managedFields") or [], manager)
            if taken is None:
                return live
            version = live["metadata"]["resourceVersion"]
            edits = [
                {"op": "replace", "path": "/metadata/managedFields", "value": taken},
                {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
            ]
            try:
                self._client.patch(path, edits, _JSON_PATCH)
            except ApiError as error:
                if error.code != 409:
                    raise
            else:
                return live

    def _forced(self, body: Properties) -> bool:
        return self._settings.patch_force or objects.annotation(body, "patchForce") == "true"

    @staticmethod
    def _explained(error: ApiError, manager: str) -> str:
        if error.reason != "Conflict":
            return str(error)
        return f'{_CONFLICT_HELP}\nThe resource managed by field manager "{manager}" had an apply conflict: {error}'

    def _await(
        self, urn: str, kind: Kind, body: Properties, live: Properties, timeout: float, *, updating: bool
    ) -> Properties:
        if objects.annotation(body, "skipAwait") == "true":
            return live
        return self._waiter.until_ready(urn, kind, live, _timeout(body, timeout), updating=updating)

    @override
    def delete(self, urn: str, resource_id: str, olds: Properties, timeout: float) -> None:
        kind = kind_of(resource_type(urn))
        recorded, live = objects.split_state(olds)
        if self._settings.delete_unreachable and self._unreachable:
            self._log.log(Severity.WARNING, f"{self._unreachable}; removed from the state only", urn)
            return
        self._require_reachable()
        namespace, name = objects.split_id(resource_id)
        collection = kind.collection(namespace)
        policy = objects.annotation(recorded, "deletionPropagationPolicy").capitalize() or "Foreground"
        try:
            self._client.delete(f"{collection}/{name}", policy)
        except ApiError as error:
            if error.code == 404:
                return
            raise
        if objects.annotation(recorded, "skipAwait") == "true":
            return
        uid = str((live.get("metadata") or {}).get("uid", ""))
        try:
            self._waiter.until_gone(urn, kind, (namespace, name), uid, _timeout(recorded, timeout))
        except NotReadyError as error:
            message = f"{error}: {'; '.join(error.reasons)}"
            raise ProviderError(message) from error

    @override
    def read(self, urn: str, resource_id: str, olds: Properties, old_inputs: Properties) -> Existing | None:
        kind = kind_of(resource_type(urn))
        if self._settings.skip_unreachable and self._unreachable:
            return Existing(resource_id, olds, old_inputs)
        self._require_reachable()
        namespace, name = objects.split_id(resource_id)
        if kind.namespaced:
            namespace = namespace or self._namespace
        try:
            live = self._client.get(f"{kind.collection(namespace)}/{name}")
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        inputs = objects.prune(live, objects.normalise(old_inputs)) if old_inputs else objects.inputs_of_live(live)
        manager = olds.get(objects.FIELD_MANAGER_KEY) or new_manager()
        marked = objects.mark_secret_inputs(inputs, old_inputs)
        state = objects.checkpoint(live, marked, manager)
        waits = objects.annotation(inputs, "skipAwait") != "true"
        reasons = self._waiter.read_reasons(kind, live) if waits and old_inputs else []
        if reasons:
            message = f"Resource '{name}' was created but failed to initialize"
            raise InitFailedError(message, resource_id, state, reasons, marked)
        return Existing(resource_id, state, marked)

    def _require_reachable(self) -> None:
        if self._unreachable:
            raise UnreachableError(self._unreachable)


def _keep_live(body: Properties, live: Properties, text: str) -> None:
    """Give the ignored path of ``body`` its live value, or drop it when the live object has none."""
    path = parse_path(text)
    holder: Json = value_at(body, path[:-1])
    present = value_at(live, path)
    if isinstance(holder, dict) and path[-1] in holder:
        if present is None:
            del holder[path[-1]]
        else:
            holder[path[-1]] = present


def _timeout(inputs: Properties, requested: float) -> float:
    """Seconds to wait: the resource's custom timeout, else its annotation, else ten minutes."""
    annotated = objects.annotation(inputs, "timeoutSeconds")
    if requested:
        return requested
    return float(annotated) if annotated.isdecimal() else DEFAULT_SECONDS
