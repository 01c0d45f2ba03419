"""What is said of an anomaly."""

from typing import NamedTuple


class Shift(NamedTuple):
    """A figure is no longer what it was, or (`over`) is so again.

    `now` and `usual` are medians over the last `requests` of it, or shares among them; `usual` is
    what these very requests were expected to be, by `learned` earlier ones. `accepted`: it is over
    because it has lasted so long that it counts as usual from now on.
    """

    over: bool
    now: float
    usual: float
    requests: int
    learned: int
    accepted: bool = False
