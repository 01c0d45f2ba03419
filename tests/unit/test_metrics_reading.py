"""A page of metrics, read again."""

import json

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ollama_fleet.metrics.reading import families


def _page():
    registry = CollectorRegistry()
    Counter("requests", "How many", ["model"], registry=registry).labels('a "b"').inc(3)
    Gauge("rate", "How fast", registry=registry).set(float("nan"))
    Histogram("wait_seconds", "How long", buckets=(1,), registry=registry).observe(2)
    return generate_latest(registry).decode()


def test_every_sample_of_a_page_is_there_with_its_labels_and_value():
    """Whatever stands in a label; a histogram has its buckets."""
    found = {family["name"]: family for family in families(_page())}
    assert (found["requests"]["kind"], found["requests"]["help"]) == ("counter", "How many")
    total = found["requests"]["samples"][0]
    assert total == {"name": "requests_total", "labels": {"model": 'a "b"'}, "value": 3.0}
    waits = {
        (s["name"], s["labels"].get("le")): s["value"] for s in found["wait_seconds"]["samples"]
    }
    assert waits["wait_seconds_bucket", "1.0"] == 0.0
    assert waits["wait_seconds_bucket", "+Inf"] == waits["wait_seconds_count", None] == 1.0


def test_it_can_be_written_as_json():
    """What is no number for JSON is null."""
    text = json.dumps(families(_page()), allow_nan=False)
    (rate,) = (family for family in json.loads(text) if family["name"] == "rate")
    assert [sample["value"] for sample in rate["samples"]] == [None]
