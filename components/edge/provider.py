"""Explicit provider of the edge nodes; apart, so that a stack without edge does not import its SDK."""

import pulumi_command as command


def ssh_provider() -> command.Provider:
    """Provider of the commands that run on the edge nodes over SSH."""
    return command.Provider("ssh")
