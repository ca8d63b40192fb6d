"""One edge node: what runs on it beside K3s, provisioned over SSH in four steps."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_command as command

from components.base import Component
from components.edge.monitor import monitor_step
from components.edge.nginx import nginx_step
from components.edge.steps import SETTINGS_FILE, Step, script, settings_file
from settings.model import Edge, Node, Service

# A dead node is given up after about 20 s instead of three minutes.
_DIAL_ERROR_LIMIT = 3
_SECONDS_PER_DIAL = 5


@dataclass(frozen=True, kw_only=True)
class EdgeNodeArgs:
    """Arguments of ``EdgeNode``; plain values but for the key, since they decide what is on the node."""

    node: str
    settings: Edge
    nodes: Mapping[str, Node]
    services: Mapping[str, Service]
    stack: str
    private_key: pulumi.Input[str]


class EdgeNode(Component):
    """Nginx, certificate and health monitor of a node: packages, then Nginx, then the certificate; the monitor beside.

    Each step is one command that can run again at any time: it changes what differs and nothing else, and puts back
    what was there when its result does not work. A step runs when its files change, or when the node's number under
    ``edge.reprovision`` does: the plugin cannot see what somebody changed on the host (design decision 8).

    Removing a node from the stack runs nothing on it, since it may be dead; its files and its certificate stay.

    Attributes:
        address: Public address of the node.
    """

    area = "edge"
    address: pulumi.Output[str]

    def __init__(self, name: str, args: EdgeNodeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        edge, stack = args.settings, args.stack
        address = args.nodes[args.node].public_ip
        if address is None:
            message = f"{args.node}: no public address. Fix: add publicIp to cluster.nodes.{args.node}"
            raise ValueError(message)
        self._connection = command.remote.ConnectionArgs(
            host=address,
            port=edge.ssh.port,
            user=edge.ssh.user,
            host_key=edge.ssh.host_keys[args.node],
            private_key=pulumi.Output.secret(args.private_key),
            dial_error_limit=_DIAL_ERROR_LIMIT,
            per_dial_timeout=_SECONDS_PER_DIAL,
        )
        self._shell = "bash -s" if edge.ssh.user == "root" else "sudo -n bash -s"
        self._reprovision = edge.reprovision.get(args.node, 0)

        packages = self._run("packages", Step(title="Packages of the edge", script="packages.sh", files={}))
        nginx = self._run("nginx", nginx_step(args.node, edge, args.nodes, args.services, stack), after=packages)
        self._run("certificate", certificate_step(edge, stack), after=nginx)
        self._run("monitor", monitor_step(args.node, edge, args.nodes, stack), after=packages)
        self.address = pulumi.Output.from_input(address)
        self.register_outputs({"address": self.address})

    def _run(self, part: str, step: Step, after: pulumi.Resource | None = None) -> command.remote.Command:
        return command.remote.Command(
            self.child_name(part),
            connection=self._connection,
            # The same text on update as on create, and nothing on delete.
            create=self._shell,
            stdin=step.stdin(self._reprovision),
            # stock sshd refuses the variables this would set.
            add_previous_output_in_env=False,
            logging=command.remote.Logging.NONE,
            opts=self.child(depends_on=[after] if after else []),
        )


def certificate_step(edge: Edge, stack: str) -> Step:
    """The step that obtains the certificate and sees to its renewal."""
    return Step(
        title=f"Certificate of {edge.hostname}",
        script="certificate.sh",
        files={
            SETTINGS_FILE: settings_file(
                {
                    "STACK": stack,
                    "HOST_NAME": edge.hostname,
                    "DIRECTORY": edge.acme.directory,
                    "EMAIL": edge.acme.email,
                    "CA_BUNDLE": edge.acme.ca_bundle or "",
                }
            ),
            "deploy-hook.sh": script("deploy-hook.sh"),
        },
    )
