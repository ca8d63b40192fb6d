"""``pulumi-resource-command``, as the engine starts it."""

from sandbox.plugins.command.plugin import CommandProvider
from sandbox.plugins.serve import main

main(CommandProvider())
