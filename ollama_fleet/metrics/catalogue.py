"""Every metric that a fleet shows, for the manual and for whoever checks what is built on it."""

from collections.abc import Iterator

from ollama_fleet.metrics import gauges
from ollama_fleet.metrics.exposition import process_families
from ollama_fleet.metrics.families import Families
from ollama_fleet.metrics.text import Family


def catalogue() -> Iterator[Family]:
    """All of them, in the order of the page."""
    yield from (counted.family for counted in Families().all)
    yield from gauges.families()
    yield from process_families()
