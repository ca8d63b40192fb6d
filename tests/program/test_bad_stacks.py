"""A stack file with a mistake stops the program before it has registered or asked anything."""

import resource
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from operations.capture import Recorder
from settings.stackfile import ROOT
from tests import capture
from tests.pace import pace

SECONDS = 5

MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "of form": (
        {"services": {"svc-tax": {"replicas": "3"}}, "secrets": {"postgres": {"admin": "canary"}}},
        "services.svc-tax.replicas: not a whole number.",
    ),
    "that breaks a rule": ({"dns": {"hostname": "www.gxcoin.money"}}, "dns.hostname: not the host name of the edge"),
    "that a proof finds": (
        {"quota": {"pods": 30}},
        "quota.pods: too small: the pods and the jobs",
    ),
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
        capture.fresh("mainnet", patch)
    told = str(raised.value).splitlines()
    assert told[0].startswith("Pulumi.mainnet.yaml: ")
    assert told[0].endswith("Nothing was deployed.")
    assert any(each.strip().startswith(line) and ". Fix: " in each for each in told[1:]), told
    assert "canary" not in str(raised.value)
    assert asked == []


def test_the_same_stack_without_the_mistake_registers_something() -> None:
    assert len(capture.stack("mainnet").resources) > 100


def test_a_mistake_is_told_in_seconds_from_a_cold_start() -> None:
    script = (
        "import pulumi; from tests import capture\n"
        "try: capture.stack('mainnet', {'quota': {'pods': 30}})\n"
        "except pulumi.RunError as error: print(error)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "quota.pods: too small" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS * pace()
