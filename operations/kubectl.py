"""kubectl on the cluster of a stack."""

from settings.model import Cluster


def kubectl_argv(cluster: Cluster, *words: str) -> list[str]:
    """A command line of kubectl, with the context and the kubeconfig of the stack file."""
    kubeconfig = (f"--kubeconfig={cluster.kubeconfig}",) if cluster.kubeconfig else ()
    return ["kubectl", *kubeconfig, f"--context={cluster.context}", *words]
