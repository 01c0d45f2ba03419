"""docs/tracing.md names what spans say: no attribute more, none less."""

import random
import re
from pathlib import Path

from made_records import made

from ollama_fleet.history import Ending
from ollama_fleet.tracing import Sampling, Traces
from ollama_fleet.tracing.spans import spans

MANUAL = Path(__file__).parents[2] / "docs" / "tracing.md"


def attributes():
    """Of a request and of an attempt: all that there are."""
    trace = Traces(Sampling(), random.Random(1)).begin((), 0.0)
    for _ in range(2):
        trace.attempt("http://127.0.0.1:1", 0.0)
    record = made(tried=("a", "b"), failures=("ConnectFailed",), ending=Ending.BROKEN)
    request, first, second = spans(trace, record)
    return set(request.attributes), set(first.attributes) | set(second.attributes)


def documented(title):
    """The attributes in the table below a title; a row may name several."""
    section = MANUAL.read_text().partition(title)[2].split("\n\n")[1]
    cells = re.findall(r"(?m)^\| (`.*?) \|", section)
    return {name for cell in cells for name in re.findall(r"`([a-z_.]+)`", cell)}


def test_every_attribute_is_in_the_manual_and_nothing_else():
    request, attempt = attributes()
    assert documented("**The request**") == request
    assert documented("**An attempt**") == attempt
