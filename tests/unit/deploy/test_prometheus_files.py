"""Alerts, dashboard and table are about metrics that there are, and are what Prometheus and Grafana read."""

import copy
import json
import os
import re
from pathlib import Path

import pytest
from servers.promtool import promtool

from callboard.deploy.prometheus.families import FAMILIES, Family

DEPLOY = Path(__file__).parents[3] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "callboard.json").read_text())
TABLE = (DEPLOY / "prometheus" / "README.md").read_text()
STANDARD = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes"}
"""Of Prometheus itself, and what prometheus_client tells of any process."""


def shown(family: Family) -> str:
    """A metric's line in the table."""
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{family.name}` | {family.kind} | {labels} | {family.about} |"


def series(family: Family) -> set[str]:
    """Names of the series of a metric."""
    if family.kind == "histogram":
        return {f"{family.name}{end}" for end in ("_bucket", "_count", "_sum")}
    return {family.name}


def test_the_table_is_the_code():
    """Every metric is in the table once, as the code has it, and no other is."""
    folded = [shown(family) for family in FAMILIES if not family.own]
    own = [shown(family) for family in FAMILIES if family.own]
    assert [line for line in TABLE.splitlines() if line.startswith("| `")] == folded + own


def test_names_are_as_prometheus_wants_them():
    """Ours begin with our name; counters end with total; help is one sentence; no two are of one name."""
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert re.fullmatch(r"callboard(_[a-z]+)+", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.about.endswith(".")
        assert "\n" not in family.about


@pytest.mark.parametrize("file", [ALERTS, DEPLOY / "grafana" / "callboard.json"], ids=lambda file: file.name)
def test_what_is_asked_for_is_there(file):
    """Every name of a metric in a query is one that we show."""
    named = set(re.findall(r"\b(?:callboard|process|python)_[a-z_]+", file.read_text()))
    known = set().union(STANDARD, *map(series, FAMILIES)) | {family.name for family in FAMILIES}
    assert named <= known, named - known
    assert len(named) > 10


def test_every_metric_of_ours_is_on_the_dashboard_or_told_why_not():
    """But what only says what something is."""
    text = json.dumps(DASHBOARD)
    missing = {family.name for family in FAMILIES if family.name not in text}
    assert missing == {
        "callboard_build_info",
        "callboard_stream_messages",  # its rate is that of the sequence, and purging lowers it
        "callboard_budgets_left_out",  # an alert of its own would never end for who has many
    }


def test_alerts_are_rules():
    """Prometheus reads them, and each says what to do."""
    assert f"{ALERTS.read_text().count('- alert:')} rules found" in promtool("check", "rules", str(ALERTS))
    assert ALERTS.read_text().count("runbook: ") == ALERTS.read_text().count("- alert:")


def test_alerts_fire():
    """On what they should, and only then."""
    assert "SUCCESS" in promtool("test", "rules", str(Path(__file__).parent / "alerts_test.yml"))


def test_commands_of_the_runbook_exist():
    """What is to be typed can be."""
    from callboard.deploy.cli.group import SECTIONS

    known = {name for section in SECTIONS.values() for name in section}
    assert set(re.findall(r"`callboard ([a-z]+)", ALERTS.read_text())) <= known


def queries() -> list[str]:
    """Every query of the dashboard, with Grafana's variables filled in."""
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    return [expr.replace("$__rate_interval", "5m").replace("$backend", ".*") for expr in asked]


def test_queries_of_the_dashboard_are_promql(tmp_path):
    """Prometheus' own parser takes each of them."""
    rules = [f"      - {{record: 'q:{number}', expr: {json.dumps(expr)}}}" for number, expr in enumerate(queries())]
    file = tmp_path / "queries.yml"
    file.write_text("\n".join(["groups:", "  - name: dashboard", "    rules:", *rules]))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file))


def lost(given, kept, where="dashboard"):
    """What one document has and the other does not, or has otherwise."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            yield from lost(value, kept[key], f"{where}.{key}") if key in kept else [f"{where}.{key}"]
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from lost(one, other, f"{where}[{number}]")
    elif given != kept:
        yield where


def test_the_dashboard_is_one():
    """Grafana's own types read it, and know every field of it."""
    if not os.environ.get("CI"):
        pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk is not installed (extra dev)")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()

    def read(document):
        return json.loads(json.dumps(Dashboard.from_json(document), cls=JSONEncoder))

    assert list(lost(DASHBOARD, read(DASHBOARD))) == []
    wrong = copy.deepcopy(DASHBOARD)
    wrong["panels"][1]["fieldConfg"] = wrong["panels"][1]["targets"][0]["expresion"] = {}
    assert set(lost(wrong, read(wrong))) == {
        "dashboard.panels[1].fieldConfg",
        "dashboard.panels[1].targets[0].expresion",
    }


def test_panels_do_not_overlap():
    """Each has its own place, and its own number."""
    taken: dict[tuple[int, int], int] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24
                assert taken.setdefault((x, y), panel["id"]) == panel["id"]
    assert len(set(taken.values())) == len(DASHBOARD["panels"])
