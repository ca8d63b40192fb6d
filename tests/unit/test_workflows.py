"""The workflows: pinned, with the least rights, and with no way from a pull request's code to a secret."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.plugins.kubernetes.kinds import kind_of
from settings.stackfile import ROOT
from tests.capture import RESOURCE_TYPES
from tests.stacks import settings

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yaml"))
PINNED = re.compile(r"[\w-]+/[\w/-]+@[0-9a-f]{40}")
# The grants that a job may have, each with its reason in the workflow.
GRANTS = {"contents": "read", "id-token": "write", "pull-requests": "write"}


def parsed(path: Path) -> dict[str, Any]:
    # YAML 1.1 takes `on` for true.
    document: dict[str, Any] = yaml.load(path.read_text(), Loader=yaml.BaseLoader)  # noqa: S506 - strings alone
    return document


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = parsed(path)["jobs"]
    return found


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in jobs(path).items():
            yield from ((f"{path.name}/{name}", step) for step in job["steps"])
    for path in GITHUB.glob("actions/*/action.yml"):
        yield from ((path.parent.name, step) for step in parsed(path)["runs"]["steps"])


def test_there_are_workflows_for_checks_previews_deployments_and_drift() -> None:
    assert [path.stem for path in WORKFLOWS] == ["deploy", "drift", "pr", "preview"]


def test_every_foreign_action_is_pinned_to_a_commit_and_says_which_version_that_is() -> None:
    used = {step["uses"] for _, step in steps() if "uses" in step} - {"./.github/actions/stack"}
    assert len(used) >= 4
    assert [each for each in used if not PINNED.fullmatch(each)] == []
    for path in (*WORKFLOWS, *GITHUB.glob("actions/*/action.yml")):
        for line in path.read_text().splitlines():
            if "uses:" in line and "@" in line:
                assert re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_no_rights_and_its_jobs_the_least(path: Path) -> None:
    assert parsed(path)["permissions"] == {}
    for name, job in jobs(path).items():
        assert job["permissions"].items() <= GRANTS.items(), name
        assert int(job["timeout-minutes"]) <= 60, name


def test_a_checkout_keeps_no_token() -> None:
    checkouts = [step for _, step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] == "false" for step in checkouts)


def test_no_expression_is_part_of_a_script() -> None:
    scripts = [(where, step["run"]) for where, step in steps() if "run" in step]
    assert len(scripts) > 10
    assert [where for where, script in scripts if "${{" in script] == []


def test_a_pull_request_runs_with_the_rights_of_nobody() -> None:
    """Forks and branches alike; `pull_request_target` and `workflow_run` would give the code a token of the project."""
    for path in WORKFLOWS:
        triggers = parsed(path)["on"]
        assert not {"pull_request_target", "workflow_run"} & set([triggers] if isinstance(triggers, str) else triggers)
    text = (GITHUB / "workflows" / "pr.yaml").read_text()
    assert "secrets." not in text
    assert "vars." not in text
    assert all(job["permissions"] == {"contents": "read"} for job in jobs(GITHUB / "workflows" / "pr.yaml").values())


def test_whoever_has_a_secret_or_an_identity_is_in_an_environment() -> None:
    guarded = 0
    for path in WORKFLOWS:
        for name, job in jobs(path).items():
            if "secrets." in str(job) or "id-token" in job["permissions"]:
                guarded += 1
                assert re.search(r"\$\{\{ (matrix|inputs)\.stack \}\}$", job["environment"]), f"{path.name}/{name}"
                # Nobody who may write to the pull request has anything else.
                assert "pull-requests" not in job["permissions"]
    assert guarded == 4


def test_the_job_that_comments_runs_none_of_the_branchs_code() -> None:
    comment = jobs(GITHUB / "workflows" / "preview.yaml")["comment"]
    assert [step.get("uses", "").partition("@")[0] for step in comment["steps"]] == ["actions/download-artifact", ""]


def test_an_update_is_never_broken_off_and_comes_from_the_main_branch() -> None:
    deploy = parsed(GITHUB / "workflows" / "deploy.yaml")
    assert deploy["concurrency"] == {"group": "deploy-${{ inputs.stack }}", "cancel-in-progress": "false"}
    assert deploy["jobs"]["plan"]["if"] == "github.ref == 'refs/heads/main'"
    assert deploy["jobs"]["apply"]["needs"] == "plan"
    assert deploy["jobs"]["apply"]["environment"] == "${{ inputs.stack }}"


def test_every_command_of_a_workflow_is_one_that_runs_here() -> None:
    """`make pr-check` runs what pr.yaml runs."""
    makefile = (ROOT / "Makefile").read_text()
    targets = {
        target for _, step in steps() for target in re.findall(r"make (?:--silent )?([a-z-]+)", step.get("run", ""))
    }
    assert targets == {"check", "check-workflows", "test-fast", "install", "report"}
    for target in (*targets, "pr-check"):
        assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), target
    assert re.search(r"^pr-check: check check-workflows test-fast report ", makefile, re.MULTILINE)


def test_the_scripts_of_the_workflows_are_there_and_shellcheck_finds_nothing_in_them() -> None:
    scripts = sorted(path for path in (ROOT / ".ci").iterdir() if path.is_file())
    named = {word for _, step in steps() for word in step.get("run", "").split() if word.startswith(".ci/")}
    assert named == {".ci/debian", ".ci/sandbox-report"}
    assert named <= {str(path.relative_to(ROOT)) for path in scripts}
    assert all(path.stat().st_mode & 0o111 for path in scripts)
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_the_sandboxs_report_compares_with_the_base_of_the_merge_and_is_in_the_summary() -> None:
    job = jobs(GITHUB / "workflows" / "pr.yaml")["sandbox"]
    (checkout,) = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
    assert checkout["with"]["fetch-depth"] == "2"
    (script,) = [step["run"] for step in job["steps"] if ".ci/sandbox-report" in step.get("run", "")]
    assert ".ci/debian .ci/sandbox-report HEAD^1 report" in script
    assert "$GITHUB_STEP_SUMMARY" in script


def test_zizmor_finds_nothing() -> None:
    zizmor = Path(sys.executable).parent / "zizmor"
    done = subprocess.run(
        [zizmor, "--offline", "--persona=auditor", "--no-progress", GITHUB], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


# --- the roles --------------------------------------------------------------------------------------------------------

READ = {"get", "list", "watch"}


def role(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "docs" / "ci" / f"{name}.yaml").read_text()))


def rules(documents: list[dict[str, Any]], name: str) -> dict[tuple[str, str], set[str]]:
    """Verbs by API group and resource."""
    (found,) = [each for each in documents if each["kind"] == "ClusterRole" and each["metadata"]["name"] == name]
    return {
        (group, resource): set(rule["verbs"])
        for rule in found["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


@pytest.mark.parametrize(("name", "verbs"), [("reader", READ), ("previewer", READ | {"create", "patch"})])
def test_a_role_reaches_what_the_program_declares_and_can_delete_nothing(name: str, verbs: set[str]) -> None:
    documents = role(name)
    own, cluster = rules(documents, f"gx-{name}"), rules(documents, f"gx-{name}-cluster")
    assert set().union(*own.values()) == verbs
    assert all(each == verbs for each in own.values())
    assert set().union(*cluster.values()) == {"get"}
    for token in RESOURCE_TYPES:
        if token.startswith("kubernetes:"):
            kind = kind_of(token)
            group = kind.api_version.rpartition("/")[0]
            assert (group, kind.plural) in (own if kind.namespaced else cluster), f"{name} does not reach {token}"
    assert "*" not in str([each for each in documents if each["kind"] == "ClusterRole"])


@pytest.mark.parametrize("name", ["reader", "previewer"])
def test_an_account_is_bound_in_the_namespace_of_its_environment_and_to_what_prometheus_mounts(name: str) -> None:
    bound = [
        (each["metadata"]["namespace"], subject["name"])
        for each in role(name)
        if each["kind"] == "RoleBinding"
        for subject in each["subjects"]
    ]
    environments = [settings(stack).environment for stack in ("mainnet", "testnet", "devnet")]
    own = [(each.namespace, f"{name}-{each.name}") for each in environments]
    assert bound == [*own, *(("monitoring", f"{name}-{each.name}") for each in environments)]
    (shared,) = (
        each for each in role(name) if each["kind"] == "Role" and each["metadata"]["namespace"] == "monitoring"
    )
    assert [rule["resources"] for rule in shared["rules"]] == [["configmaps"]]
