"""Looking again: who waits is chosen for anew though nothing has happened. Pure.

A request may have been left to wait for an instance that was expected to be free soon. If that is
late, nothing says so, and somebody else may be the better choice by now. So there is another look
after a while, and each quiet while is as long as all before it: an instance that hangs costs few.
No constant of time is in it.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Final

QUIET: Final = 8  # times what a request takes of the GPUs: a fleet at work is never quiet so long

After = Callable[[float, Callable[[float], None]], object]
"""Calls something after so many seconds, with the time it is then."""


class Again:
    """Has `look` called when nothing has happened since `happened_s` for a while."""

    __slots__ = ("_after", "_due_s", "_look", "happened_s")

    def __init__(self, look: Callable[[float], None], after: After) -> None:
        self._look = look
        self._after = after
        self.happened_s = 0.0
        self._due_s = math.inf  # when the next look is

    def watch(self, cost_gpu_s: float, now_s: float) -> None:
        """Have it looked at again if it is quiet for long, as requests go that take so much.

        Or for as long as it has been already, if that is longer.
        """
        if cost_gpu_s > 0:
            self._watch(max(QUIET * cost_gpu_s, now_s - self.happened_s), now_s)

    def _watch(self, while_s: float, now_s: float) -> None:
        due_s = now_s + while_s
        if now_s < due_s < self._due_s:
            self._due_s = due_s
            self._after(while_s, partial(self._come, due_s, while_s))

    def _come(self, due_s: float, while_s: float, now_s: float) -> None:
        if due_s != self._due_s:
            return  # another was due before it
        self._due_s = math.inf
        quiet_s = now_s - self.happened_s
        if quiet_s < while_s / 2:
            self._watch(while_s - quiet_s, now_s)
        else:
            self._look(now_s)
