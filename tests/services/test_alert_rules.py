"""Every alert of mainnet, judged by Prometheus' own tools: when it fires, and on what it stays silent."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.observability import rules, scrape
from components.observability.rules import AREAS
from settings.model import Observability, Settings
from tests import stacks
from tests.alerts import OWN, Case, cases, seconds

STACKS = ("mainnet", "testnet", "devnet")
OTHER = 'namespace="backend-testnet"'


def whole(stack: str) -> tuple[Settings, Observability]:
    """A stack with everything that has alerts."""
    settings = stacks.settings_off_site(stack)
    assert settings.observability is not None
    return settings, settings.observability


def promtool(*argv: str) -> None:
    done = subprocess.run(["promtool", *argv], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("stack", STACKS)
def test_prometheus_takes_the_scrape_configuration_and_every_rule(stack: str, tmp_path: Path) -> None:
    settings, observability = whole(stack)
    for name, text in rules.files(settings, observability).items():
        (tmp_path / name).write_text(text)
    # Debian's Prometheus is built without its discovery in Kubernetes.
    configs = [each for each in scrape.scrape_configs(settings) if "kubernetes_sd_configs" not in each]
    assert configs
    config = {"rule_files": [f"{tmp_path}/*.yaml"], "scrape_configs": configs}
    whole_file = tmp_path / "prometheus.yml"
    whole_file.write_text(yaml.safe_dump(config))
    promtool("check", "config", "--lint=all", "--lint-fatal", str(whole_file))


@pytest.mark.parametrize("area", AREAS)
def test_every_alert_fires_after_exactly_its_time_and_stays_silent_on_the_nearest_healthy_series(
    area: str, tmp_path: Path
) -> None:
    settings, observability = whole("mainnet")
    groups = rules.groups(settings, observability, area)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    judged: dict[str, list[dict[str, Any]]] = {}
    for rule in groups[0]["rules"]:
        if "alert" in rule:
            case = cases()[rule["alert"]]
            judged.setdefault(case.step, []).extend(judgements(rule, case))
    assert judged
    for step, tests in judged.items():
        suite = {"rule_files": ["rules.yaml"], "evaluation_interval": step, "tests": tests}
        path = tmp_path / f"tests-{step}.yaml"
        path.write_text(yaml.safe_dump(suite, sort_keys=False))
        promtool("test", "rules", str(path))


def test_the_share_of_the_time_with_a_lag_within_the_aim_is_recorded(tmp_path: Path) -> None:
    settings, observability = whole("mainnet")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": rules.groups(settings, observability, "cqrs")}))
    # Of two pods the slower one counts, and it is too slow for the last quarter of the hour.
    lag = {
        'projector_lag_milliseconds{namespace="backend-mainnet",pod="a"}': "20x240",
        'projector_lag_milliseconds{namespace="backend-mainnet",pod="b"}': "99x179 100x60",
    }
    wanted = {"labels": '{namespace="backend-mainnet"}', "value": 0.75}
    test = {
        "interval": "15s",
        "input_series": series(lag),
        "promql_expr_test": [
            {"expr": "round(gx:projector_lag:kept1h, 0.01)", "eval_time": "1h", "exp_samples": [wanted]}
        ],
    }
    path = tmp_path / "tests.yaml"
    path.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "15s", "tests": [test]}))
    promtool("test", "rules", str(path))


def judgements(rule: dict[str, Any], case: Case) -> Iterator[dict[str, Any]]:
    name, step, delay = rule["alert"], seconds(case.step), seconds(rule["for"])
    for fires in case.fires:
        onset = seconds(fires.after)
        labels = {"alertname": name, "alertstate": "firing", **rule["labels"], **fires.labels}
        expected = ", ".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        expectations = [
            expect(f'ALERTS{{alertname="{name}",alertstate="firing"}}', onset + delay, f"ALERTS{{{expected}}}")
        ]
        if delay:
            expectations += [
                expect(f'ALERTS{{alertname="{name}",alertstate="firing"}}', onset + delay - step),
                expect(f'count(ALERTS{{alertname="{name}",alertstate="pending"}})', onset, "{}"),
            ]
        if onset:
            expectations.append(expect(f'ALERTS{{alertname="{name}"}}', onset - step))
        yield {
            "name": f"{name} fires",
            "interval": case.step,
            "input_series": series(fires.series),
            "promql_expr_test": expectations,
        }
    if case.silent is not None:
        at_the_end = (max(length(values) for values in case.silent.values()) - 1) * step
        assert at_the_end >= onset_of(case) + delay + step, f"{name}: too short to tell"
        ever = f'count_over_time(ALERTS{{alertname="{name}",alertstate="firing"}}[{at_the_end + step}s])'
        # The same Prometheus sees other environments, in which it fires.
        for fires in case.fires:
            others = {each.replace(OWN, OTHER): values for each, values in fires.series.items() if OWN in each}
            yield {
                "name": f"{name} stays silent",
                "interval": case.step,
                "input_series": series(case.silent | others),
                "promql_expr_test": [expect(ever, at_the_end)],
            }


def onset_of(case: Case) -> int:
    return max(seconds(fires.after) for fires in case.fires)


def expect(expr: str, at: int, labels: str | None = None) -> dict[str, Any]:
    """One sample of value 1 with these labels, or none at all."""
    return {"expr": expr, "eval_time": f"{at}s", "exp_samples": [{"labels": labels, "value": 1}] if labels else []}


def series(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"series": name, "values": text} for name, text in values.items()]


def length(values: str) -> int:
    """Samples in promtool's notation."""
    return sum(int(part.rpartition("x")[2]) + 1 if "x" in part else 1 for part in values.split())
