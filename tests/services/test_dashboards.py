"""The queries of the dashboards, by Prometheus' own tool."""

import subprocess
from pathlib import Path
from string import Template

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


def test_a_pod_that_has_ended_is_not_one_that_is_not_ready(tmp_path: Path) -> None:
    """Pods of finished Jobs stay for a while, with a condition Ready that is false."""
    shown(
        "Pods that are not ready",
        {
            'kube_pod_status_ready{$ns,pod="svc-tax-1",condition="false"}': 1,
            'kube_pod_status_phase{$ns,pod="svc-tax-1",phase="Succeeded"}': 0,
            'kube_pod_status_ready{$ns,pod="postgres-backup-1",condition="false"}': 1,
            'kube_pod_status_phase{$ns,pod="postgres-backup-1",phase="Succeeded"}': 1,
        },
        {"{}": 1},
        tmp_path,
    )


@pytest.mark.parametrize(
    ("panel", "metric"),
    [
        ("Regions that answer", "gx_region_up"),
        ("Time to answer", "gx_region_response_seconds"),
        ("HTTP status of /health", "gx_region_http_code"),
        ("Days left of the certificate", "gx_region_certificate_days"),
    ],
)
def test_what_a_monitor_saw_before_it_stopped_is_not_shown_as_how_it_is(
    panel: str, metric: str, tmp_path: Path
) -> None:
    """Node exporter reads its file on and on."""
    series = {
        f'{metric}{{$host,region="Phoenix",instance="a"}}': 1,
        'gx_health_monitor_last_run_seconds{$host,instance="a"}': 0,
        f'{metric}{{$host,region="Frankfurt",instance="b"}}': 1,
        'gx_health_monitor_last_run_seconds{$host,instance="b"}': 3590,
    }
    shown(panel, series, {'{region="Frankfurt"}': 1}, tmp_path)


def shown(panel: str, series: dict[str, int], wanted: dict[str, int], directory: Path) -> None:
    """Whether a panel of mainnet shows this of constant series, an hour after their start."""
    settings = stacks.settings_off_site("mainnet")
    (query,) = (expression for title, expression in panels.queries(settings) if title == panel)
    assert settings.edge is not None
    own = {"ns": f'namespace="{settings.environment.namespace}"', "host": f'host="{settings.edge.hostname}"'}
    test = {
        "interval": "1m",
        "input_series": [
            {"series": Template(name).substitute(own), "values": f"{value}x60"} for name, value in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": query,
                "eval_time": "1h",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in wanted.items()],
            }
        ],
    }
    file = directory / "tests.yaml"
    file.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
