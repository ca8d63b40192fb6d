"""What is built from source: one Go module per row, pinned by its committed go.mod and go.sum."""

from dataclasses import dataclass, field
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_PINS = _HERE / "go"

PULUMI_VERSION = "3.259.0"
KUBERNETES_VERSION = "1.33.4"
KWOK_VERSION = "0.7.0"


@dataclass(frozen=True, kw_only=True)
class Module:
    """Programs that share one Go module and therefore one build.

    `tools` maps a program's name to its Go package. `variables` are string variables set by the linker, which is how
    these projects learn their own version. `optional` modules are built only when asked for by name.
    """

    name: str
    directory: Path
    tools: dict[str, str]
    variables: dict[str, str] = field(default_factory=dict)
    optional: bool = False


def _kubernetes() -> Module:
    major, minor, _ = KUBERNETES_VERSION.split(".")
    versions = {"gitVersion": f"v{KUBERNETES_VERSION}", "gitMajor": major, "gitMinor": minor}
    programs = (
        "kube-apiserver",
        "kube-controller-manager",
        "kube-proxy",
        "kube-scheduler",
        "kubectl",
        "kubelet",
    )
    return Module(
        name="kubernetes",
        directory=_PINS / "kubernetes",
        tools={program: f"k8s.io/kubernetes/cmd/{program}" for program in programs},
        variables={f"k8s.io/component-base/version.{key}": value for key, value in versions.items()},
    )


MODULES = (
    Module(name="standin", directory=_HERE.parent / "standin", tools={"standin": ".", "pause": "./pause"}),
    _kubernetes(),
    Module(
        name="pulumi",
        directory=_PINS / "pulumi",
        tools={"pulumi": "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"},
        variables={"github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": PULUMI_VERSION},
    ),
    Module(name="coredns", directory=_PINS / "coredns", tools={"coredns": "github.com/coredns/coredns"}),
    Module(
        name="exporters",
        directory=_PINS / "exporters",
        tools={
            "postgres_exporter": "github.com/prometheus-community/postgres_exporter/cmd/postgres_exporter",
            "redis_exporter": "github.com/oliver006/redis_exporter",
            "node_exporter": "github.com/prometheus/node_exporter",
        },
    ),
    Module(
        name="kube-router",
        directory=_PINS / "kube-router",
        tools={"kube-router": "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"},
    ),
    Module(
        name="cyclonus",
        directory=_PINS / "cyclonus",
        tools={"cyclonus": "."},
        optional=True,
    ),
    Module(
        name="kube-state-metrics",
        directory=_PINS / "kube-state-metrics",
        tools={"kube-state-metrics": "k8s.io/kube-state-metrics/v2"},
    ),
    Module(
        name="gofakes3",
        directory=_PINS / "gofakes3",
        tools={"gofakes3": "github.com/johannesboyne/gofakes3/cmd/gofakes3"},
        optional=True,
    ),
    Module(
        name="kwok",
        directory=_PINS / "kwok",
        tools={"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
        variables={"sigs.k8s.io/kwok/pkg/consts.Version": f"v{KWOK_VERSION}"},
        optional=True,
    ),
)


def module_of(tool: str) -> Module:
    """The module that builds `tool`; a KeyError naming the known ones if there is none."""
    for module in MODULES:
        if tool in module.tools:
            return module
    known = ", ".join(sorted(name for module in MODULES for name in module.tools))
    raise KeyError(f"no tool {tool!r}; tools: {known}")
