"""The kinds the stand-in knows: where they live in the API, and which of their fields cannot change in place.

The replacement lists are the real plugin's:
https://github.com/pulumi/pulumi-kubernetes/blob/master/provider/pkg/provider/diff.go
"""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.plugins.provider import ProviderError

ANNOUNCEMENT = "sandbox stand-in for pulumi-kubernetes, acts on the real API server"


@dataclass(frozen=True)
class Kind:
    """One kind: ``api_version`` as in a manifest, its REST collection, and the paths that force a replacement."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True
    replace_on: tuple[str, ...] = ()

    @property
    def token(self) -> str:
        """The Pulumi type token, ``kubernetes:<group>/<version>:<Kind>`` with the core group named ``core``."""
        group_version = self.api_version if "/" in self.api_version else f"core/{self.api_version}"
        return f"kubernetes:{group_version}:{self.kind}"

    def collection(self, namespace: str) -> str:
        """The REST path of the collection; ``namespace`` is ignored for cluster-wide kinds."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if self.namespaced else f"{root}/{self.plural}"


_WORKLOAD_SELECTOR = ("spec.selector",)

_KINDS = (
    Kind("v1", "Namespace", "namespaces", namespaced=False),
    Kind("v1", "ConfigMap", "configmaps"),
    Kind("v1", "Secret", "secrets", replace_on=("type",)),
    Kind("v1", "Service", "services", replace_on=("spec.clusterIP",)),
    Kind("v1", "ServiceAccount", "serviceaccounts"),
    Kind("v1", "ResourceQuota", "resourcequotas", replace_on=("spec.scopes",)),
    Kind("v1", "LimitRange", "limitranges"),
    Kind(
        "v1",
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        replace_on=("spec.accessModes", "spec.selector", "spec.storageClassName", "spec.volumeName"),
    ),
    Kind("apps/v1", "Deployment", "deployments", replace_on=_WORKLOAD_SELECTOR),
    Kind(
        "apps/v1",
        "StatefulSet",
        "statefulsets",
        replace_on=(
            "spec.podManagementPolicy",
            "spec.revisionHistoryLimit",
            "spec.selector",
            "spec.serviceName",
            "spec.volumeClaimTemplates",
        ),
    ),
    Kind("apps/v1", "DaemonSet", "daemonsets", replace_on=_WORKLOAD_SELECTOR),
    Kind(
        "batch/v1",
        "Job",
        "jobs",
        replace_on=("spec.completions", "spec.parallelism", "spec.selector", "spec.template"),
    ),
    Kind("batch/v1", "CronJob", "cronjobs"),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    Kind("networking.k8s.io/v1", "Ingress", "ingresses"),
    Kind("rbac.authorization.k8s.io/v1", "Role", "roles"),
    Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings", replace_on=("roleRef",)),
    Kind("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", namespaced=False),
    Kind(
        "rbac.authorization.k8s.io/v1",
        "ClusterRoleBinding",
        "clusterrolebindings",
        namespaced=False,
        replace_on=("roleRef",),
    ),
    Kind("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", namespaced=False),
    Kind(
        "storage.k8s.io/v1",
        "StorageClass",
        "storageclasses",
        namespaced=False,
        replace_on=("parameters", "provisioner"),
    ),
)

_BY_TOKEN = {kind.token: kind for kind in _KINDS}


def kind_of(token: str) -> Kind:
    """The kind of a Pulumi type token. Raises :class:`ProviderError` for a kind the stand-in does not know."""
    kind = _BY_TOKEN.get(token)
    if kind is None:
        message = (
            f"{ANNOUNCEMENT}: {token} is not available. Known: {', '.join(sorted(_BY_TOKEN))}. "
            "Use the real plugin, or add the kind to sandbox/plugins/kubernetes/kinds.py."
        )
        raise ProviderError(message)
    return kind
