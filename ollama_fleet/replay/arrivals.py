"""When requests come: seconds from the start, in order, without end. Pure; the randomness is given.

All have a mean rate; they differ in how far apart two arrivals are.
"""

import random
from collections.abc import Callable, Iterator

Arrivals = Callable[[random.Random], Iterator[float]]
"""A process: the same randomness makes the same arrivals."""


def constant(rate_per_s: float) -> Arrivals:
    """At equal distances."""
    return lambda _rng: _evenly(1 / rate_per_s)


def poisson(rate_per_s: float) -> Arrivals:
    """Of clients that know nothing of one another."""
    return gamma(rate_per_s, 1.0)


def gamma(rate_per_s: float, cv: float) -> Arrivals:
    """In bursts: `cv` is the distances' standard deviation over their mean, 1 with Poisson's."""
    shape = cv**-2
    return lambda rng: _drawn(lambda: rng.gammavariate(shape, 1 / (rate_per_s * shape)))


def _evenly(gap_s: float) -> Iterator[float]:
    number = 0
    while True:
        yield number * gap_s
        number += 1


def _drawn(gap_s: Callable[[], float]) -> Iterator[float]:
    at_s = 0.0
    while True:
        at_s += gap_s()
        yield at_s
