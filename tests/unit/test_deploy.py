"""What deploy/ builds on the metrics names metrics and labels that there are."""

import re

import pytest
import yaml
from deployed import ALERT_TESTS, DASHBOARD, DEPLOY, mistakes, panels, queries, rules


@pytest.mark.parametrize(
    "wrong",
    [
        "ollama_fleet_nothing",
        "ollama_fleet_ready{instance='a'}",
        "sum by (model) (ollama_fleet_ready)",
        "ollama_fleet_time_to_first_token_seconds",
    ],
)
def test_the_check_finds_what_is_not_there(wrong):
    assert list(mistakes(wrong)) != []


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_there_is_and_says_what_to_do(rule):
    assert list(mistakes(rule["expr"])) == []
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description"}


def test_every_alert_is_seen_to_fire_and_not_to_fire_before():
    told = {rule["alert"]: set() for rule in rules()}
    for case in yaml.safe_load(ALERT_TESTS.read_text())["tests"][1:]:
        for check in case["alert_rule_test"]:
            told[check["alertname"]].add(bool(check["exp_alerts"]))
    assert {name for name, seen in told.items() if seen != {True, False}} == set()


def test_a_healthy_fleet_is_asked_about_every_alert():
    healthy = yaml.safe_load(ALERT_TESTS.read_text())["tests"][0]["alert_rule_test"]
    assert [check["alertname"] for check in healthy] == [rule["alert"] for rule in rules()]
    assert not any(check["exp_alerts"] for check in healthy)


@pytest.mark.parametrize("expression", [each for _, each in queries()])
def test_a_query_of_the_dashboard_asks_for_what_there_is(expression):
    assert list(mistakes(expression)) == []


def test_the_dashboard_can_be_imported_anywhere():
    """It has a name of its own for links, and asks whichever Prometheus it is told to."""
    assert DASHBOARD["uid"] == "ollama-fleet"
    (datasource,) = (v for v in DASHBOARD["templating"]["list"] if v["type"] == "datasource")
    asked = {"type": "prometheus", "uid": f"${{{datasource['name']}}}"}
    for panel in panels():
        assert all(part["datasource"] == asked for part in (panel, *panel["targets"]))
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_every_query_of_the_dashboard_looks_at_the_fleets_that_were_chosen():
    for where, expression in queries():
        metrics = re.findall(r"(?:ollama_fleet|process)_\w+(\{[^}]*\})?", expression)
        for selector in metrics:
            assert 'fleet=~"$fleet"' in selector or where == "fleet", (where, expression)


def test_panels_do_not_lie_on_each_other():
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_scrape_configuration_keeps_the_instances_names():
    """Without honor_labels Prometheus renames the label that all rules go by."""
    (job,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())[
        "scrape_configs"
    ]
    assert job["honor_labels"] is True
    assert job["job_name"] == "ollama-fleet"
    assert all("fleet" in group["labels"] for group in job["static_configs"])
