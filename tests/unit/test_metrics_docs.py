"""The manual says of every metric what the page says, and of no other."""

import re
from pathlib import Path

import yaml

from ollama_fleet.metrics.catalogue import catalogue
from ollama_fleet.metrics.reasons import ONLY_ONE, RETRIED, SCORE, TIE
from ollama_fleet.router.strategies.adaptive import TERMS

MANUAL = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


def _row(family):
    labels = ", ".join(f"`{label}`" for label in family.labels)
    cells = f"| `{family.name}` | {family.kind} | {labels} | {family.help} |"
    return cells.replace("|  |", "| |")


def test_every_metric_has_its_row_in_the_manual_and_no_row_is_stale():
    rows = [line for line in MANUAL.splitlines() if re.match(r"\| `\w+` \| (count|gau|hist)", line)]
    assert rows == [_row(family) for family in catalogue()]


def test_every_name_in_the_manual_is_one_of_a_metric():
    names = {family.name for family in catalogue()}
    assert set(re.findall(r"ollama_fleet_[a-z0-9_]*[a-z]", MANUAL)) <= names


def test_every_label_is_explained():
    table = MANUAL.partition("## Labels")[2].partition("\n## ")[0]
    ours = (family for family in catalogue() if family.name.startswith("ollama_fleet"))
    labels = {label for family in ours for label in family.labels}
    plain = {"status", "strategy", "version", "external", "group", "index", "name", "memory"}
    assert {label for label in labels - plain if f"`{label}`" not in table} == set()


def test_every_reason_is_explained():
    for word in (*TERMS, ONLY_ONE, TIE, SCORE, RETRIED):
        assert f"`{word}`" in MANUAL, word


def test_a_picker_is_pointed_at_gauges_without_labels():
    (block,) = (b for b in re.findall(r"```yml\n(.*?)```", MANUAL, re.DOTALL) if "Spec" in b)
    (engine,) = yaml.safe_load(block)["plugins"][1]["parameters"]["engineConfigs"]
    specs = {value for key, value in engine.items() if key.endswith("Spec")}
    gauges = {f.name for f in catalogue() if f.kind == "gauge" and not f.labels}
    assert len(specs) == 3
    assert specs <= gauges
