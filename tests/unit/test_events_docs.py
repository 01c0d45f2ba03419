"""docs/events.md names every kind of event, with its severity, and no other."""

import re
from pathlib import Path

from ollama_fleet.estimate.anomalies import Measure
from ollama_fleet.state import Kind

MANUAL = (Path(__file__).parents[2] / "docs" / "events.md").read_text()


def test_every_kind_is_explained_with_its_severity():
    told = {}
    for kinds, severity, meaning in re.findall(
        r"^\| (`[a-z_`, ]+`) \| (\w+) \| ([^|]+) \|", MANUAL, re.MULTILINE
    ):
        assert meaning.strip()
        told |= dict.fromkeys(re.findall(r"`(\w+)`", kinds), severity)
    assert told == {str(kind): str(kind.severity) for kind in Kind}


def test_every_measure_of_an_anomaly_is_explained():
    for measure in Measure:
        assert f"\n| `{measure}` |" in MANUAL
