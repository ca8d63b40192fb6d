"""Running provisioning steps on one node over SSH, for the components that do."""

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_command as command

from components.base import Component
from components.edge.steps import Step
from settings.model import Edge, JumpHost, Node

# A dead node is given up after about 20 s instead of three minutes.
_DIAL_ERROR_LIMIT = 3
_SECONDS_PER_DIAL = 5


class Host:
    """One node, as the steps of a component reach it.

    Each step is one command that can run again at any time: it changes what differs and nothing else, and puts back
    what was there when its result does not work. A step runs when its files change, or when the node's number under
    ``edge.reprovision`` does: the plugin cannot see what somebody changed on the host (design decision 8).

    Raises ``ValueError`` when the host key of the node is not pinned.
    """

    def __init__(
        self, owner: Component, node: str, edge: Edge, nodes: Mapping[str, Node], private_key: pulumi.Input[str] | None
    ) -> None:
        if node not in edge.ssh.host_keys:
            raise ValueError(f"{node}: no pinned host key. Fix: add edge.ssh.hostKeys.{node}")
        self.address = nodes[node].public_ip or nodes[node].internal_ip
        # Without a key the plugin asks the agent at $SSH_AUTH_SOCK. The socket is no input: it differs from one session
        # to the next, and every difference runs the steps again.
        key = None if private_key is None else pulumi.Output.secret(private_key)
        self._owner = owner
        self._connection = command.remote.ConnectionArgs(
            host=self.address,
            port=edge.ssh.port,
            user=edge.ssh.user,
            host_key=edge.ssh.host_keys[node],
            private_key=key,
            dial_error_limit=_DIAL_ERROR_LIMIT,
            per_dial_timeout=_SECONDS_PER_DIAL,
            proxy=_proxy(edge.ssh.jump, key),
        )
        self._shell = "bash -s" if edge.ssh.user == "root" else "sudo -n bash -s"
        self._reprovision = edge.reprovision.get(node, 0)

    def run(self, part: str, step: Step, after: Sequence[pulumi.Resource] = ()) -> command.remote.Command:
        """Declare a step, to run after others."""
        stdin = step.stdin(self._reprovision)
        return command.remote.Command(
            self._owner.child_name(part),
            connection=self._connection,
            # The same text on update as on create, and nothing on delete.
            create=self._shell,
            stdin=pulumi.Output.secret(stdin) if step.secret else stdin,
            # stock sshd refuses the variables this would set.
            add_previous_output_in_env=False,
            logging=command.remote.Logging.NONE,
            opts=self._owner.child(depends_on=list(after)),
        )


def _proxy(jump: JumpHost | None, key: pulumi.Output[str] | None) -> command.remote.ProxyConnectionArgs | None:
    if jump is None:
        return None
    return command.remote.ProxyConnectionArgs(
        host=jump.host,
        port=jump.port,
        user=jump.user,
        host_key=jump.host_key,
        private_key=key,
        dial_error_limit=_DIAL_ERROR_LIMIT,
        per_dial_timeout=_SECONDS_PER_DIAL,
    )
