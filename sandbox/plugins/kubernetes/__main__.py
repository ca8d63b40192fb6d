"""``pulumi-resource-kubernetes``, as the engine starts it."""

from sandbox.plugins.kubernetes.plugin import KubernetesProvider
from sandbox.plugins.serve import main

main(KubernetesProvider())
