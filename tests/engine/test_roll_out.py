"""A roll-out as those see it who use the service: a setting changes, every pod is replaced, nobody notices (HA-06)."""

from pathlib import Path

from tests.engine.outages import await_whole
from tests.engine.stack import Stack, awaited, get, kubectl
from tests.engine.visitors import Answers, visitors

# Of all services the one on which the health of a region depends.
SERVICE = "svc-identity"
SITE = "https://api.gxcoin.money"
REQUESTS = (f"GET {SITE}/identity/accounts/1", f"GET {SITE}/health", f"POST {SITE}/identity/accounts")


def pods(stack: Stack) -> set[str]:
    """The pods of the service."""
    found = get("pods", stack.namespace, "-l", f"app={SERVICE}")
    return {pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]}


def said(answers: Answers) -> str:
    return "; ".join(f"{method} {dict(answers.outcomes(method))}" for method in ("GET", "POST"))


def test_every_pod_is_replaced_twice_and_no_request_fails(mainnet: Stack, tmp_path: Path) -> None:
    changed = mainnet.patched({"services": {SERVICE: {"limits": {"cpu": "900m"}}}})
    generations = [pods(mainnet)]
    with visitors(tmp_path, REQUESTS) as answers:
        for stack in (changed, mainnet):
            stack.up().ok()
            generations.append(pods(mainnet))
    print(f"two roll-outs of {SERVICE}: {said(answers)}")
    assert len(set().union(*generations)) == 9, "a pod was not replaced"
    served = {each.pod for each in answers.all()}
    assert all(served & generation for generation in generations), "a generation served nobody"
    assert [each for each in answers.all() if each.outcome != "200"] == []
    mainnet.pulumi("preview", "--expect-no-changes").ok()


def test_pods_that_go_without_notice_are_noticed(mainnet: Stack, tmp_path: Path) -> None:
    """What the test above would see if a roll-out did the same."""
    with visitors(tmp_path, REQUESTS) as answers:
        selected = ("-n", mainnet.namespace, "-l", f"app={SERVICE}")
        kubectl("delete", "pods", *selected, "--grace-period=0", "--force", "--wait=false")
        awaited("a request has failed", lambda: any(each.outcome != "200" for each in answers.all()), timeout=60)
    print(f"every pod of {SERVICE} gone at once: {said(answers)}")
    await_whole(mainnet.namespace)
