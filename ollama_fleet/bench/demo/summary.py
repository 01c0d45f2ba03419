"""The end of a demo, for people. Pure."""

from collections.abc import Iterator

from ollama_fleet.bench.report import Quantiles, Report


def summary(report: Report) -> str:
    """The report as a few lines of text."""
    return "\n".join(_lines(report))


def verdict(report: Report, *, simulated: bool) -> str:
    """Why the demo failed; "" if it did not."""
    if not report.requests:
        return "no request was sent"
    if report.errors:
        return f"{report.errors} of {report.requests} requests failed"
    if simulated and len(report.instances) < 2:
        return "fewer than two instances served"
    return ""


def _lines(report: Report) -> Iterator[str]:
    yield (
        f"{report.requests:,} requests, {report.errors:,} errors, {report.tokens:,} tokens, "
        f"instances that served: {len(report.instances)}"
    )
    for reason, times in report.reasons.items():
        yield f"  {times} x {reason}"
    yield ""
    yield f"{'TIMES':<20} {'P50':>10} {'P99':>10}"
    yield _times("to the first token", report.ttft_ms)
    yield _times("to the end", report.latency_ms)
    yield ""
    width = max((len(i.name) for i in report.instances), default=0)
    yield f"{'INSTANCE':<{max(width, 20)}} {'REQUESTS':>10} {'SHARE':>10}"
    for instance in report.instances:
        share = f"{instance.share:.1%}"
        yield f"{instance.name:<{max(width, 20)}} {instance.requests:>10,} {share:>10}"


def _times(what: str, times: Quantiles) -> str:
    return f"{what:<20} {_show(times.p50):>10} {_show(times.p99):>10}"


def _show(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:,.0f} ms"
