"""Which steps ``make edge-drift`` asks about, and under which names."""

from components.edge.steps import Step
from operations.edge_drift import Declared, declared
from tests import stacks


def test_a_check_travels_with_the_files_of_its_step_and_differs_from_it_by_purpose_alone() -> None:
    step = Step(title="Probe", script="packages.sh", files={"settings.env": "PROGRAMS=sh=dash\n"})
    doing, looking = step.stdin(0).splitlines(), step.check().splitlines()
    assert [line for line in looking if line not in doing] == [
        doing[0].replace("reprovision 0", "check"),
        '    bash "$files/packages.sh" "$files" check </dev/null',
    ]


def test_a_stack_without_edge_has_nothing_to_ask() -> None:
    assert declared(stacks.settings("devnet"), "devnet") == {}


def test_the_name_is_that_of_the_resource_in_the_state() -> None:
    step = Step(title="t", script="packages.sh", files={})
    assert Declared("EdgeNode", "srv1-nginx", step).urn("mainnet") == (
        "urn:pulumi:mainnet::gx-backend-infra::gx:edge:EdgeNode$command:remote:Command::srv1-nginx"
    )
