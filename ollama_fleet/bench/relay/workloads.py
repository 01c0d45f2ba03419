"""What the relay bench measures: these proxies under these workloads. Pure."""

from dataclasses import dataclass

DIRECT, NGINX, ITER_ANY, FLEET = "direct", "nginx", "iter_any", "fleet"
FLEET_LEAST_CONN = "fleet least_conn"  # what the default strategy costs, the other row tells


@dataclass(frozen=True, slots=True)
class Workload:
    """Clients on kept connections, each asking again when an answer ends, for `window_s` seconds.

    They begin spread over most of `ramp_s`, before the window. `per_s` is the pace of a stream in
    tokens a second; 0 is as fast as it goes. A paced client that asks near the end of the window
    asks for as many tokens as just outlast it.
    """

    name: str
    connections: int
    tokens: int
    per_s: int
    stream: bool
    ramp_s: float
    window_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Every workload at every proxy in turn, and all of that `repetitions` times."""

    proxies: tuple[str, ...]
    workloads: tuple[Workload, ...]
    repetitions: int


def plan(*, quick: bool, repetitions: int | None = None) -> Plan:
    """The full plan takes a quarter of an hour; the quick one, a proxy fewer, under a minute."""
    proxies = (NGINX, ITER_ANY, FLEET)
    if quick:
        short = _workloads(whole_s=0.5, burst_s=1.0, stream_s=2.4, many_s=2.0)
        return Plan(proxies, short, repetitions or 1)
    long = _workloads(whole_s=2.0, burst_s=3.0, stream_s=10.0, many_s=8.0)
    return Plan((*proxies, FLEET_LEAST_CONN), long, repetitions or 5)


def _workloads(
    *, whole_s: float, burst_s: float, stream_s: float, many_s: float
) -> tuple[Workload, ...]:
    whole = tuple(
        Workload(f"W1 c={connections}", connections, 8, 0, False, 0.2, whole_s)
        for connections in (1, 32, 128)
    )
    return (
        *whole,
        Workload("W2", 16, 128, 0, True, 0.2, burst_s),
        Workload("W3", 256, 256, 50, True, 0.5, stream_s),
        Workload("W4", 2000, 128, 5, True, 1.8, many_s),
    )
