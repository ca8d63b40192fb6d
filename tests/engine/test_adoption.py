"""A running system whose state is lost, or that Pulumi never made, is taken over as it is."""

from pathlib import Path

from tests.engine.stack import BIN, LASTING, ROOT, Stack, get, run


def test_a_stack_without_its_state_is_adopted_without_touching_a_pod(testnet: Stack, tmp_path: Path) -> None:
    def pods() -> set[str]:
        return {pod["metadata"]["uid"] for pod in get("pods", testnet.namespace, *LASTING)}

    before, saved = pods(), tmp_path / "state.json"
    run(BIN / "pulumi", "stack", "export", "--stack", testnet.name, "--file", str(saved)).ok()
    run(BIN / "pulumi", "stack", "rm", "--stack", testnet.name, "--force", "--yes", "--preserve-config").ok()
    try:
        run(BIN / "pulumi", "config", "--stack", testnet.name).ok()
        printed = testnet.operate("adopt", "--yes").ok().output
        assert "it replaces and deletes nothing" in printed
        assert "exists   StatefulSet              backend-testnet/postgres" in printed
        testnet.up().ok()
        assert pods() == before, "adopting restarted pods"
        testnet.pulumi("preview", "--expect-no-changes").ok()
    except BaseException:
        run(BIN / "pulumi", "stack", "import", "--stack", testnet.name, "--file", str(saved)).ok()
        raise
    finally:
        (ROOT / f"adopt.{testnet.name}.json").unlink(missing_ok=True)
