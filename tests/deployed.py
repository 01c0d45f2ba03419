"""What deploy/ asks Prometheus for, and what of it there is."""

import json
import re
from pathlib import Path

import yaml

from ollama_fleet.metrics.catalogue import catalogue
from ollama_fleet.metrics.text import HISTOGRAM

DEPLOY = Path(__file__).parents[1] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
ALERT_TESTS = DEPLOY / "prometheus" / "alerts.test.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "ollama-fleet.json").read_text())
OF_TARGETS = {"fleet", "job"}
OF_PROMETHEUS = {"up": {"instance"}}


def series():
    """Every name that can stand in an expression, with its labels."""
    found = {name: set(labels) for name, labels in OF_PROMETHEUS.items()}
    for family in catalogue():
        labels = set(family.labels)
        if family.kind == HISTOGRAM:
            found[f"{family.name}_bucket"] = labels | {"le"}
            found[f"{family.name}_count"] = found[f"{family.name}_sum"] = labels
        else:
            found[family.name] = labels
    return found


def mistakes(expression):
    """Names and labels of an expression that there are not."""
    known = series()
    for name, _, selector in re.findall(
        r"\b(up|(?:ollama_fleet|process)_\w+)(\{([^}]*)\})?", expression
    ):
        if name not in known:
            yield name
            continue
        labels = set(re.findall(r"(\w+)\s*[=!]", selector))
        yield from (f"{name}{{{label}}}" for label in labels - known[name] - OF_TARGETS)
    named = {name for name in known if re.search(rf"\b{name}\b", expression)}
    groups = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression)
    grouped = {label.strip() for group in groups for label in group.split(",")}
    yield from grouped - set().union(*(known[name] for name in named)) - OF_TARGETS


def rules():
    return [
        rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    ]


def panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries():
    """Every expression of the dashboard, by where it stands."""
    for panel in panels():
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for note in DASHBOARD["annotations"]["list"]:
        yield note["name"], note["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric = variable["query"]["query"].removeprefix("label_values(").rpartition(",")[0]
            yield variable["name"], metric
