"""Explicit provider of the cluster, and secrets as outputs. No resource of the program uses a default provider."""

import pulumi
import pulumi_kubernetes as k8s
from pydantic import SecretStr

from settings.model import Cluster


def kubernetes_provider(cluster: Cluster) -> k8s.Provider:
    """Provider of the stack's cluster.

    ``cluster_identifier`` is what the provider is compared by, so a changed endpoint, context or credential replaces
    nothing (https://github.com/pulumi/pulumi-kubernetes/issues/4019). ConfigMaps and Secrets update in place, and the
    workloads that read them roll by their content hash. At the default of 50 requests a second a first `up` would wait
    for its own throttle.
    """
    return k8s.Provider(
        "kubernetes",
        cluster_identifier=cluster.identifier,
        context=cluster.context,
        kubeconfig=cluster.kubeconfig,
        enable_server_side_apply=True,
        enable_config_map_mutable=True,
        enable_secret_mutable=True,
        kube_client_settings={"qps": 200, "burst": 400},
    )


def secret(value: SecretStr | None) -> pulumi.Output[str]:
    """A secret of the stack file as an encrypted output. The settings' rules see to what must be there."""
    return pulumi.Output.secret(value.get_secret_value() if value else "")
