"""Pictures of a study as PNG files, by matplotlib: the extra `plots`.

They have the same strategies in the same colours; lines are means over seeds, bands their range.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from ollama_fleet.bench.processes.curves import BY_LOAD, Curves, Metric, by_load, by_waiting, shares
from ollama_fleet.bench.processes.figures import trial
from ollama_fleet.bench.processes.study import Played, Scale
from ollama_fleet.bench.routing.table import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by readers who do not see all colours (Okabe and Ito).
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
_MARKS: Final = "osD^vPX"
_DOTS_PER_INCH: Final = 120
_FAR_APART: Final = 30  # bars that differ by more want a logarithmic scale
_BARS: Final = (
    Metric("mean latency, s", lambda t: t.mean_s),
    Metric("99 % latency, s", lambda t: t.p99_s),
    Metric("mean time to first token, s", lambda t: t.ttft_mean_s),
    Metric("throughput, tokens/s", lambda t: t.figures["tokens_per_s"], wide=False),
)
_WIDE: Final = {metric.title for metric in BY_LOAD if metric.wide}


def available() -> bool:
    """Whether pictures can be made here."""
    try:
        import matplotlib.figure  # noqa: F401, PLC0415 - an extra
    except ImportError:
        return False
    return True


def write(all_played: Sequence[Played], scale: Scale, folder: Path) -> Sequence[Path]:
    """Write all pictures of a study; the files. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    styles = _styles(all_played)
    written = [
        _saved(_bars(all_played, scale, styles), folder / "overview.png"),
        _saved(_shares(all_played, scale), folder / "shares.png"),
    ]
    for family, metrics in by_load(all_played, scale).items():
        figure = _grid(
            metrics, styles, f"{family}: against offered load", "offered load, requests/s"
        )
        written.append(_saved(figure, folder / f"load-{family}.png"))
    for family in dict.fromkeys(each.turn.case.family for each in all_played):
        own = [each for each in all_played if each.turn.case.family == family]
        figure = _grid(
            by_waiting(own, scale),
            styles,
            f"{family}: against waiting requests",
            "requests that wait for their first token",
            waiting=True,
        )
        written.append(_saved(figure, folder / f"waiting-{family}.png"))
    return written


Styles = Mapping[str, Mapping[str, Any]]
"""How a strategy is drawn, in all pictures of a study."""


def _styles(all_played: Sequence[Played]) -> Styles:
    names = dict.fromkeys(each.turn.name for each in sorted(all_played, key=lambda p: p.turn.seed))
    ranked = sorted(names, key=lambda name: not name.startswith("adaptive"))
    return {
        name: {"color": _COLOURS[at % len(_COLOURS)], "marker": _MARKS[at % len(_MARKS)]}
        for at, name in enumerate(ranked)
    }


def _figure(rows: int, columns: int, *, width: float, height: float) -> "tuple[Figure, list[Axes]]":
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for each in axes.flat:
        each.spines[["top", "right"]].set_visible(False)
    return figure, list(axes.flat)


def _saved(figure: "Figure", path: Path) -> Path:
    figure.savefig(path, dpi=_DOTS_PER_INCH)
    return path


def _grid(
    metrics: Mapping[str, Curves],
    styles: Styles,
    title: str,
    x_title: str,
    *,
    waiting: bool = False,
) -> "Figure":
    """A panel for each metric, a curve for each strategy with the range of its seeds."""
    columns = 2 if len(metrics) == 4 else 3
    figure, axes = _figure(len(metrics) // columns, columns, width=4.6, height=3.4)
    for axis, (metric, curves) in zip(axes, metrics.items(), strict=True):
        for name, points in curves.items():
            x = [point.x for point in points]
            axis.plot(x, [p.mean for p in points], label=name, markersize=5, **styles[name])
            low, high = [p.least for p in points], [p.most for p in points]
            axis.fill_between(x, low, high, color=styles[name]["color"], alpha=0.15, linewidth=0)
        _scaled(axis, wide=metric in _WIDE, waiting=waiting)
        axis.set(title=metric, xlabel=x_title)
        axis.grid(visible=True, alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(title)
    return figure


def _scaled(axis: "Axes", *, wide: bool, waiting: bool) -> None:
    from matplotlib.ticker import LogLocator  # noqa: PLC0415 - an extra

    axis.margins(0.06)
    if not math.isfinite(axis.dataLim.x1):
        return  # too few requests for any curve
    if wide:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(_plain)
        axis.yaxis.set_minor_formatter("")
    else:
        axis.set_ylim(0, axis.dataLim.y1 * 1.08)
    if waiting:
        axis.set_xscale("symlog", base=2, linthresh=1)
        axis.xaxis.set_major_formatter(_plain)
        axis.set_xlim(left=-0.15, right=axis.dataLim.x1 * 1.2 + 0.15)


def _bars(all_played: Sequence[Played], scale: Scale, styles: Styles) -> "Figure":
    """A row of panels for each case: a bar for each strategy, with the range of its seeds."""
    cases = _trials(all_played, scale)
    figure, axes = _figure(len(cases), len(_BARS), width=3.9, height=2.0)
    for row, (case, by_name) in enumerate(cases.items()):
        for column, metric in enumerate(_BARS):
            axis = axes[row * len(_BARS) + column]
            _draw_bars(axis, by_name, metric.of, styles)
            if not row:
                axis.set_title(metric.title)
            if column:
                axis.set_yticklabels([])
            else:
                axis.set_ylabel(case)
    figure.align_ylabels(axes[:: len(_BARS)])
    return figure


def _draw_bars(
    axis: "Axes",
    by_name: Mapping[str, Sequence[Trial]],
    of: Callable[[Trial], float],
    styles: Styles,
) -> None:
    names = [name for name in styles if name in by_name][::-1]
    found = [[of(t) for t in by_name[name]] for name in names]
    means = [fmean(each) for each in found]
    spread = (
        [mean - min(each) for mean, each in zip(means, found, strict=True)],
        [max(each) - mean for mean, each in zip(means, found, strict=True)],
    )
    colours = [styles[name]["color"] for name in names]
    bars = axis.barh(names, means, xerr=spread, color=colours, error_kw={"ecolor": "#333333"})
    axis.bar_label(bars, [_short(mean) for mean in means], padding=4, fontsize=9)
    axis.margins(x=0.25)
    if max(means) > _FAR_APART * min(means) > 0:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(_plain)
        axis.set_xlim(min(means) / 3, max(max(each) for each in found) * 8)


def _plain(value: float, _at: object) -> str:
    """A number at an axis, never as a power of ten."""
    return f"{value:,.6g}"


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _shares(all_played: Sequence[Played], scale: Scale) -> "Figure":
    """A panel for each case: of each strategy, what share each instance served; and its loads."""
    cases = _trials(all_played, scale)
    figure, axes = _figure(len(cases), 1, width=8.0, height=1.7)
    instances = sorted({i for by in cases.values() for own in by.values() for i in shares(own)})
    for axis, (case, by_name) in zip(axes, cases.items(), strict=True):
        names = list(by_name)[::-1]
        left = [0.0] * len(names)
        for at, instance in enumerate(instances):
            widths = [shares(by_name[name]).get(instance, 0.0) for name in names]
            colour = _COLOURS[at % len(_COLOURS)]
            axis.barh(names, widths, left=left, color=colour, label=instance)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        for at, name in enumerate(names):
            loads = fmean(t.cold_loads for t in by_name[name])
            axis.text(1.01, at, f"{loads:.3g} cold loads", va="center", fontsize=9)
        axis.set(title=case, xlim=(0, 1))
        axis.xaxis.set_major_formatter(lambda value, _at: f"{value:.0%}")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _trials(
    all_played: Sequence[Played], scale: Scale
) -> Mapping[str, Mapping[str, Sequence[Trial]]]:
    """By case and strategy, in the order of play."""
    found: dict[str, dict[str, list[Trial]]] = {}
    for each in all_played:
        by_name = found.setdefault(each.turn.case.name, {})
        by_name.setdefault(each.turn.name, []).append(trial(each, scale))
    return found
