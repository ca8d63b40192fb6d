"""The pull request's report: what becomes of each resource, the comment byte for byte, and its length."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from checks.paths import declared
from checks.summary import Line, Node, Reach, RollOut, Room, Summary, Switch
from operations.report.__main__ import as_json
from operations.report.changes import (
    OBJECT_IDENTITY,
    REPLACING,
    Change,
    Field,
    Operation,
    between,
    of_preview,
)
from operations.report.compose import Report, Source, Verdict, compose
from operations.report.facts import Breach, Facts, Object, Policies
from operations.report.markdown import LIMIT, render
from operations.report.versions import Version
from sandbox.plugins.cloudflare.resources import resource_of
from sandbox.plugins.kubernetes.kinds import kind_of
from settings.loader import load
from settings.stackfile import merge
from tests import stacks
from tests.capture import RESOURCE_TYPES

GOLDEN = Path(__file__).parent / "golden" / "report.md"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
STATEFUL_SET = "kubernetes:apps/v1:StatefulSet"


def declared_object(token: str, name: str, *, protect: bool = False, **spec: object) -> Object:
    """An object of the cluster as a program declares it."""
    return Object(
        type=token,
        name=name,
        urn=f"urn:pulumi:mainnet::gx-backend-infra::gx:app:Workload${token}::{name}",
        inputs={"metadata": {"name": name, "namespace": "backend-mainnet"}, "spec": spec},
        protect=protect,
    )


def container(**values: object) -> dict[str, object]:
    return {"spec": {"containers": [{"name": "main", **values}]}}


def changed(before: Object, after: Object) -> Change:
    (change,) = between([before], [after])
    return change


# --- changes ----------------------------------------------------------------------------------------------------------


def test_what_is_the_same_is_no_change_and_what_is_on_one_side_alone_comes_or_goes() -> None:
    kept, gone, new = (declared_object(DEPLOYMENT, name, replicas=1) for name in ("kept", "gone", "new"))
    found = between([kept, gone], [kept, new])
    assert [(each.operation, each.name) for each in found] == [
        ("delete", "backend-mainnet/gone"),
        ("create", "backend-mainnet/new"),
    ]


def test_a_changed_input_is_told_by_the_names_of_what_it_is_part_of() -> None:
    before = declared_object(DEPLOYMENT, "svc", template=container(image="a:1", env=[{"name": "LOG", "value": "INFO"}]))
    after = declared_object(DEPLOYMENT, "svc", template=container(image="a:2", env=[{"name": "LOG", "value": "DEBUG"}]))
    change = changed(before, after)
    assert change.operation is Operation.UPDATE
    assert [(each.path, each.before, each.after) for each in change.fields] == [
        ("spec.template.spec.containers[main].env[LOG].value", "INFO", "DEBUG"),
        ("spec.template.spec.containers[main].image", "a:1", "a:2"),
    ]


def test_an_order_that_changed_is_a_change() -> None:
    before, after = (
        declared_object(DEPLOYMENT, "svc", items=[{"name": name} for name in names]) for names in ("ab", "ba")
    )
    assert [each.path for each in changed(before, after).fields] == ["spec.items"]


def test_of_a_long_text_the_changed_lines_are_counted() -> None:
    text = "\n".join(str(number) for number in range(50))
    before, after = (declared_object(DEPLOYMENT, "svc", script=each) for each in (text, text.replace("7\n", "x\ny\n")))
    (field,) = changed(before, after).fields
    assert (field.before, field.after) == ("5 lines", "10 lines in their place")


def test_an_input_that_cannot_change_in_place_replaces_and_a_database_is_named_first() -> None:
    before = [declared_object(DEPLOYMENT, "svc", selector="a"), declared_object(STATEFUL_SET, "postgres", x=1)]
    after = [declared_object(DEPLOYMENT, "svc", selector="b")]
    found = between(before, after)
    assert [(each.operation, each.kind, each.endangers_data) for each in found] == [
        ("delete", "StatefulSet", True),
        ("replace", "Deployment", False),
    ]
    claims = changed(
        declared_object(STATEFUL_SET, "postgres", volumeClaimTemplates=[{"size": "1Gi"}], protect=True),
        declared_object(STATEFUL_SET, "postgres", volumeClaimTemplates=[{"size": "2Gi"}]),
    )
    assert (claims.operation, claims.endangers_data, claims.protected) == (Operation.REPLACE, True, True)
    larger = declared_object(STATEFUL_SET, "postgres", volumeClaimTemplates=[{"size": "2Gi"}], replicas=1)
    (field,) = changed(
        declared_object(STATEFUL_SET, "postgres", volumeClaimTemplates=[{"size": "1Gi"}]),
        replace(larger, ignored=("spec.volumeClaimTemplates",)),
    ).fields
    assert field.path == "spec.replicas", "what an update leaves as it is was reported"


def test_a_renamed_resource_with_an_alias_is_the_same_one() -> None:
    old, new = declared_object(DEPLOYMENT, "old", replicas=1), declared_object(DEPLOYMENT, "new", replicas=1)
    assert [each.operation for each in between([old], [new])] == ["delete", "create"]
    assert (
        changed(old, replace(new, aliases=((DEPLOYMENT, "old"),), inputs={**old.inputs, "x": 1})).operation == "update"
    )


def test_a_protection_that_is_taken_away_is_a_change() -> None:
    kept = declared_object(STATEFUL_SET, "postgres", protect=True)
    (field,) = changed(kept, replace(kept, protect=False)).fields
    assert (field.path, field.before, field.after) == ("(option) protect", "true", "false")


@pytest.mark.parametrize("token", sorted(RESOURCE_TYPES))
def test_what_replaces_is_what_the_plugins_replace(token: str) -> None:
    """Two lists of one fact: the plugins' conformance suite tests theirs, and this holds the report's against it."""
    package, _, _ = token.partition(":")
    if package == "kubernetes":
        assert REPLACING.get(token, ()) == kind_of(token).replace_on
        assert OBJECT_IDENTITY == ("metadata.name", "metadata.namespace")
    elif package == "cloudflare":
        assert REPLACING[token] == resource_of(token).replace_on
    elif package == "command":
        assert REPLACING[token] == ("triggers",)


# --- the engine's preview ---------------------------------------------------------------------------------------------


def state(inputs: Mapping[str, Any], *, custom: bool = True, protect: bool = False) -> dict[str, Any]:
    return {"custom": custom, "inputs": inputs, "protect": protect}


def step(op: str, name: str, **rest: object) -> dict[str, Any]:
    urn = f"urn:pulumi:mainnet::gx-backend-infra::gx:app:Workload$kubernetes:core/v1:Secret::{name}"
    return {"op": op, "urn": urn, **rest}


def sealed(plaintext: str) -> dict[str, str]:
    return {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "plaintext": plaintext}


def test_the_engines_preview_is_read_without_its_secrets() -> None:
    old, new = ({"metadata": {"name": "s"}, "stringData": sealed(text)} for text in ("canary-1", "canary-2"))
    steps = [
        step("same", "quiet", oldState=state({}), newState=state({})),
        step("create", "component", newState=state({}, custom=False)),
        step("update", "s", oldState=state(old), newState=state(new), detailedDiff={"stringData": {"kind": "update"}}),
        step("create-replacement", "r", oldState=state(old, protect=True), newState=state(old | {"type": "x"})),
        step("replace", "r", oldState=state(old), newState=state(old | {"type": "x"})),
        step("delete-replaced", "r", oldState=state(old)),
        step("delete", "gone", oldState=state(old)),
    ]
    found = of_preview(f"Previewing update\n{json.dumps({'steps': steps})}")
    assert [(each.operation, [field.path for field in each.fields]) for each in found] == [
        ("delete", []),
        ("replace", ["type"]),
        ("update", ["stringData"]),
    ]
    assert found[1].protected
    assert "canary" not in str(found)


def test_what_the_server_alone_knows_is_not_taken_for_an_input_with_a_similar_path() -> None:
    old: dict[str, Any] = {"data": {"host": "a"}, "spec": {"containers": [{"name": "web", "env": []}]}}
    new: dict[str, Any] = {"data": {"host": "b"}, "spec": {"containers": [{"name": "web", "env": ["X"]}]}}
    paths = ["data.host", "data.hostname", 'data["tls.key"]', "spec.containers[0].env[0]", "spec.containers[0].image"]
    diff = {path: {"kind": "update"} for path in paths}
    (found,) = of_preview(
        json.dumps({"steps": [step("update", "s", oldState=state(old), newState=state(new), detailedDiff=diff)]})
    )
    assert [field.path for field in found.fields] == [
        "data.host",
        "spec.containers[web].env[0]",
        "data.hostname",
        'data["tls.key"]',
        "spec.containers[0].image",
    ]


@pytest.mark.parametrize("text", ["", "error: no stack", "{}", '{"steps": 1}', "{"])
def test_what_is_no_preview_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="not the output of `pulumi preview --json`"):
        of_preview(text)


# --- the comment ------------------------------------------------------------------------------------------------------

SUMMARY = Summary(
    refused=(),
    expired=(Line(name="expired-fit-tight", text="accepted.fit-tight.expires: the acceptance is over. Fix: decide"),),
    reported=(Line(name="drain-a", text="cluster.nodes.a: cannot be drained: <x> [y](z) `t`. Fix: free room"),),
    accepted=(Line(name="fit-tight", text="quota.requests.cpu: tight (accepted, expired 2026-01-01: ordered)"),),
    placement="fits: every pod finds a node",
    quota=(
        Room(path="quota.requests.cpu", hard="4000m", steady="3000m", peak="3500m", free="500m", used_percent=88),
        Room(path="quota.pods", hard="10", steady="8", peak="9", free="1", used_percent=90),
    ),
    nodes=(
        Node(
            name="a", pods=8, cpu_left="1m", memory_left="1Gi", disk_left="9Gi", lost="everything runs", drained="ends"
        ),
    ),
    failover=(
        Switch(enabled=("a", "b"), now=False, left="everything runs"),
        Switch(enabled=("b",), now=True, left="no majority of postgres"),
    ),
    hostname="api.example.org",
    roll_outs=(
        RollOut(name="svc", kind="Deployment", pods=3, surge=1, may_miss=1, budget=2, requests="100m 128Mi"),
        RollOut(name="idle", kind="Deployment", pods=1, surge=1, may_miss=0, budget=None, requests="100m 128Mi"),
    ),
    reach=Reach(policies=11, intended=9, pods=15, unproven=0),
)
BEFORE = replace(
    SUMMARY,
    quota=(replace(SUMMARY.quota[0], free="900m"),),
    failover=(replace(SUMMARY.failover[0], now=True), replace(SUMMARY.failover[1], now=False)),
)


KEPT, NEW, GONE = (
    Breach("protected-data", "StatefulSet/postgres: a deletion would take its data along. Fix: set the option protect"),
    Breach("container-sizes", "Deployment/svc.spec: no limits.cpu. Fix: state it"),
    Breach("read-only-root", "Deployment/svc.spec: a root file system | to write. Fix: declare a volume"),
)


def policies(*breaches: Breach) -> Policies:
    return Policies(rules=14, objects=3, breaches=breaches)


def facts(*objects: Object, summary: Summary = SUMMARY, **rest: Any) -> Facts:  # noqa: ANN401 - the other fields
    return Facts(stack="mainnet", summary=summary, objects=objects, **rest)


def example() -> Report:
    """A report with something in every part of it."""
    before = facts(
        declared_object(DEPLOYMENT, "svc", replicas=2, template=container(image="a:1")),
        declared_object(STATEFUL_SET, "postgres", serviceName="old", protect=True),
        summary=BEFORE,
        sealed={"secrets.redis.exporter": "1", "secrets.redis.backup": "1"},
        policies=policies(KEPT, GONE),
    )
    after = facts(
        declared_object(DEPLOYMENT, "svc", replicas=3, paused=True, x=1, template=container(image="a:2")),
        declared_object(STATEFUL_SET, "postgres", serviceName="new"),
        declared_object(DEPLOYMENT, "extra"),
        missing=("dns.zoneId",),
        sealed={"secrets.redis.exporter": "2", "secrets.redis.backup": "1"},
        policies=policies(KEPT, NEW),
    )
    report = compose(after, Version(label="main (0123456789ab)", facts=before))
    return replace(report, paths=(("opens", "svc-tax", "a pod of fabric", "TCP 7050"),))


def test_the_comment_is_this_one_byte_for_byte() -> None:
    """After a change that is meant: `python -m tests.unit.test_report` writes the file anew."""
    assert render(example()) == GOLDEN.read_text(encoding="utf-8")
    assert render(example()) == render(example())


def test_an_acceptance_that_is_over_fails_the_check() -> None:
    base = Version(label="main", facts=facts(summary=BEFORE))
    report = compose(facts(), base)
    assert (report.verdict, report.passes) == (Verdict.EXPIRED, False)
    assert compose(facts(summary=replace(SUMMARY, expired=())), base).passes


def test_a_finding_of_the_policy_pack_fails_the_check_whether_new_or_not() -> None:
    base = Version(label="main", facts=facts(policies=policies(KEPT, GONE)))
    for breaches, states in (((KEPT, NEW), ["new", "kept", "gone"]), ((KEPT,), ["kept", "gone"])):
        report = compose(facts(policies=policies(*breaches)), base)
        assert (report.verdict, report.passes) == (Verdict.BREACHED, False)
        assert [each.state for each in report.policy_findings] == states
    sound = replace(SUMMARY, expired=())
    mended = compose(facts(policies=policies(), summary=sound), base)
    assert mended.passes
    assert "14 rules over 3 objects: no finding.\n\n|  | rule | finding |" in render(mended)
    assert "| gone | protected-data | StatefulSet/postgres: a deletion" in render(mended)
    clean = compose(facts(policies=policies(), summary=sound), Version(label="main", facts=facts(policies=policies())))
    assert "### Policies\n\n14 rules over 3 objects: no finding.\n\n" in render(clean)
    assert "policy pack" not in render(clean)


def test_without_a_base_a_finding_is_neither_new_nor_old() -> None:
    report = compose(facts(policies=policies(KEPT)), Version(label="main", why="its code cannot tell yet"))
    assert [each.state for each in report.policy_findings] == [""]
    assert ", 1 finding of the policy pack" in render(report)


def test_a_version_that_cannot_be_used_or_told_is_said_to_be_so() -> None:
    broken = Facts(stack="mainnet", problems=("quota.pods: missing. Fix: add it to the stack file",))
    told = render(compose(broken, Version(label="main", facts=facts())))
    assert "## `mainnet`: **unusable**, changes not known" in told
    assert "- quota.pods: missing. Fix: add it to the stack file" in told
    assert not compose(broken, Version(label="main", facts=facts())).passes
    told = render(compose(facts(), Version(label="main", why="its code cannot tell yet")))
    assert "Nothing is known of the base `main`: its code cannot tell yet" in told
    refused = facts(summary=replace(SUMMARY, refused=(Line(name="x", text="quota.pods: too small"),)))
    told = render(compose(facts(), Version(label="main", facts=replace(refused, objects=None))))
    assert "it is refused itself: quota.pods: too small" in told


def test_a_new_stack_is_all_created_and_one_that_is_gone_says_what_stays() -> None:
    absent = Facts(stack="mainnet", absent=True)
    new = compose(facts(declared_object(DEPLOYMENT, "svc")), Version(label="main", facts=absent))
    assert [each.operation for each in new.changes or ()] == ["create"]
    gone = compose(absent, Version(label="main", facts=facts()))
    assert gone.passes
    assert "what it declares stays until `pulumi destroy --stack mainnet`" in gone.warnings[0]


def test_a_preview_says_where_it_was_made_and_what_it_is_worth() -> None:
    changes = (Change(operation=Operation.CREATE, kind="Service", name="s", urn="u"),)
    base = Version(label="main", facts=facts())
    report = compose(facts(), base, changes)
    assert (report.source, report.changes) == (Source.PREVIEW, changes)
    assert "against the live systems" in render(report)
    assert "which no server has validated" in render(compose(facts(), base, changes, Source.CLIENT_SIDE))
    assert "in the sandbox, where the base is deployed" in render(compose(facts(), base, changes, Source.SANDBOX))
    assert compose(facts(), base, source=Source.SANDBOX).source is Source.DECLARED


def test_the_json_holds_what_the_comment_says() -> None:
    document = json.loads(as_json(example()))
    assert document["verdict"] == "against policy"
    assert [each["state"] for each in document["policy_findings"]] == ["new", "kept", "gone"]
    assert [each["operation"] for each in document["changes"]] == ["replace", "create", "update"]
    assert document["summary"]["quota"][0]["free"] == "500m"
    assert document["paths"] == [["opens", "svc-tax", "a pod of fabric", "TCP 7050"]]


@pytest.mark.parametrize("limit", [6000, 4000, 3000, 2500])
def test_what_is_too_long_loses_its_least_important_lines_and_counts_them(limit: int) -> None:
    fields = tuple(Field(path=f"spec.x{number}", before="1", after="2") for number in range(9))
    many = tuple(
        Change(operation=Operation.UPDATE, kind="Service", name=f"s{number:02}", urn=str(number), fields=fields)
        for number in range(30)
    )
    whole = replace(example(), changes=(*(example().changes or ()), *many))
    text = render(whole, limit)
    assert len(text.encode()) <= limit < len(render(whole).encode())
    assert re.search(r"_\d+ lines are left out here; `--json` has all._", text)
    assert text.count("- Service `s") < render(whole).count("- Service `s") == 30 * 9
    # What a reviewer must see stays to the last.
    for line in (
        "**against policy**",
        "Data: StatefulSet backend-mainnet/postgres is replaced",
        "the acceptance is over",
    ):
        assert line in text


def generated(services: int, nodes: int, **of_service: object) -> dict[str, object]:
    """A large stack: many services on many nodes."""
    config = stacks.complete("mainnet")
    node = config["cluster"]["nodes"]["srv1117946"]  # type: ignore[index]
    service = {
        "replicas": 2,
        "port": 8080,
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"cpu": "100m", "memory": "128Mi"},
        "fabricAccess": False,
        **of_service,
    }
    names = [f"svc-{number:03}-with-a-name-that-is-long-for-a-service" for number in range(services)]
    return merge(
        config,
        {
            "cluster": {
                "nodes": {
                    f"n{number}": {**node, "internalIp": f"10.61.0.{number + 1}", "podCidr": f"10.43.{number}.0/24"}
                    for number in range(nodes)
                }
            },
            "quota": {
                "requests": {"cpu": "900", "memory": "900Gi"},
                "limits": {"cpu": "900", "memory": "900Gi"},
                "pods": 5000,
            },
            "edge": {"firewall": None, "ssh": {"hostKeys": {"srv1117946": None}}},
            "postgres": {"maxConnections": 5000, "connectionsPerPod": 1},
            "services": dict.fromkeys(names, service),
            "images": {"workloads": dict.fromkeys(names, "ghcr.io/gx/x:1@sha256:" + "ab" * 32)},
        },
    )


def test_a_stack_of_500_workloads_stays_under_the_limit_of_a_comment() -> None:
    settings = [load(generated(491, 50, fabricAccess=access)) for access in (False, True)]
    names = list(settings[0].services)
    large = replace(
        SUMMARY,
        nodes=tuple(replace(SUMMARY.nodes[0], name=name) for name in settings[0].cluster.nodes),
        roll_outs=tuple(replace(SUMMARY.roll_outs[0], name=name) for name in names),
    )
    before, after = (
        Facts(
            stack="mainnet",
            summary=large,
            declared=declared(each),
            objects=tuple(
                declared_object(DEPLOYMENT, name, replicas=number, template=container(image=str(number), x=1, y=number))
                for name in names
            ),
        )
        for number, each in enumerate(settings)
    )
    report = compose(after, Version(label="main", facts=before))
    text = render(report)
    assert len(report.changes or ()) == len(report.rolling) == len(names) == 500
    assert LIMIT * 0.9 < len(text.encode()) <= LIMIT
    assert len(as_json(report)) > LIMIT
    assert re.search(r"_\d+ lines are left out here; `--json` has all._", text)
    assert "| opens | svc-000-with-a-name-that-is-long-for-a-service, " in text


if __name__ == "__main__":
    GOLDEN.write_text(render(example()), encoding="utf-8")
