"""Every query of every dashboard is one to Prometheus' own tool."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests import panels, stacks


@pytest.mark.parametrize("stack", ["mainnet", "testnet", "devnet"])
def test_prometheus_takes_every_query(stack: str, tmp_path: Path) -> None:
    queries = [expression for _, expression in panels.queries(stacks.settings_off_site(stack))]
    assert len(queries) > 20
    rules = [{"record": f"panel:query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(file)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries)} rules found" in done.stdout


def test_what_is_no_query_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "a", "rules": [{"record": "a:b:c", "expr": "sum by (x"}]}]}))
    assert subprocess.run(["promtool", "check", "rules", str(file)], check=False, capture_output=True).returncode
