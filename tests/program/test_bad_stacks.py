"""A stack file with a mistake stops the program before it has registered or asked anything."""

from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from operations.capture import Recorder
from tests import capture

MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "of form": (
        {"services": {"svc-tax": {"replicas": "3"}}, "secrets": {"postgres": {"admin": "canary"}}},
        "services.svc-tax.replicas: not a whole number.",
    ),
    "that breaks a rule": ({"dns": {"hostname": "www.gxcoin.money"}}, "dns.hostname: not the host name of the edge"),
    "that a proof finds": ({"quota": {"pods": 30}}, "quota.pods: too small: the pods need"),
}


@pytest.mark.parametrize(("patch", "line"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_stops_the_program_before_it_registers_anything(
    patch: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def seen(real: Callable[..., Any]) -> Callable[..., Any]:
        def method(self: object, request: Any) -> Any:  # noqa: ANN401
            # The engine's own resource of the stack is always there.
            if getattr(request, "type", "") != capture.STACK_TYPE:
                asked.append(type(request).__name__)
            return real(self, request)

        return method

    for name in ("RegisterResource", "Invoke"):
        monkeypatch.setattr(Recorder, name, seen(getattr(Recorder, name)))
    with pytest.raises(pulumi.RunError) as raised:
        capture.stack("mainnet", patch)
    told = str(raised.value).splitlines()
    assert told[0].startswith("Pulumi.mainnet.yaml: ")
    assert told[0].endswith("Nothing was deployed.")
    assert any(each.strip().startswith(line) and ". Fix: " in each for each in told[1:]), told
    assert "canary" not in str(raised.value)
    assert asked == []


def test_the_same_stack_without_the_mistake_registers_something() -> None:
    assert len(capture.stack("mainnet").resources) > 100
