"""``make edge-drift`` asks about the steps that the program declares, all of them and as they are."""

from operations.edge_drift import declared
from tests import stacks
from tests.capture import Capture


def test_every_step_of_every_node_is_asked_about_as_the_program_declares_it(mainnet: Capture) -> None:
    asked = [each for steps in declared(stacks.settings("mainnet"), "mainnet").values() for each in steps]
    assert {each.resource: each.step.stdin(0) for each in asked} == {
        command.name: command.inputs["stdin"] for command in mainnet.of("Command")
    }
    parents = {component.urn: component.type for component in mainnet.resources}
    for command in mainnet.of("Command"):
        (urn,) = (each.urn("mainnet") for each in asked if each.resource == command.name)
        assert f"::{parents[command.parent]}${command.type}::{command.name}" in urn
