"""The text that Prometheus reads: families and lines, in its own format and in OpenMetrics.

The lines of a page are made here and not by prometheus_client: that takes ten times as long, and
a page is made between the requests.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"
_TOTAL: Final = "_total"


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its whole name, its kind, one sentence about it, the names of its labels."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """One of the two formats. They differ in what stands above the samples, and at the end."""

    content_type: str
    is_open: bool

    def head(self, family: Family) -> str:
        """What stands above the samples of a family."""
        name, told = family.name, family.help.replace("\\", r"\\").replace("\n", r"\n")
        if self.is_open:
            told = told.replace('"', r"\"")
            name = name.removesuffix(_TOTAL) if family.kind == COUNTER else name
        return f"# HELP {name} {told}\n# TYPE {name} {family.kind}\n"

    @property
    def end(self) -> str:
        """What stands below all."""
        return "# EOF\n" if self.is_open else ""


PLAIN: Final = Form("text/plain; version=0.0.4; charset=utf-8", is_open=False)
OPEN: Final = Form("application/openmetrics-text; version=1.0.0; charset=utf-8", is_open=True)


def form_for(accept: str) -> Form:
    """The format for whoever sends this Accept header."""
    return OPEN if "application/openmetrics-text" in accept else PLAIN


def start(name: str, labels: Sequence[str] = (), values: Iterable[object] = ()) -> str:
    """How the line of a sample begins: all of it but the value."""
    if not labels:
        return f"{name} "
    told = ",".join(
        f'{label}="{escaped(str(value))}"' for label, value in zip(labels, values, strict=True)
    )
    return f"{name}{{{told}}} "


def escaped(value: str) -> str:
    """A label's value as it stands between quotation marks."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def number(value: float) -> str:
    """A value as both formats have it."""
    if isinstance(value, int):
        return str(int(value))  # a truth is a number, too
    text = repr(value)
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(text, text)
