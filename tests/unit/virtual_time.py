"""An event loop whose time passes at once: it jumps to the next thing that is due."""

import asyncio
import selectors

_END_S = 1e6


class _Jump(selectors.DefaultSelector):
    """Nothing comes from outside: instead of waiting, time is moved on."""

    def __init__(self):
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout=None):
        assert timeout is not None, "nothing is due any more: the test would hang"
        self.now_s += max(0.0, timeout)
        assert self.now_s < _END_S, "what the test waits for does not come about"
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self):
        return self._jump.now_s

    def stand_still(self, seconds):
        self._jump.now_s += seconds


def stands_still(seconds):
    """The loop does nothing for so long: whatever was due meanwhile is late."""
    asyncio.get_running_loop().stand_still(seconds)


def run(scenario):
    """Run a coroutine on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scenario)


def now():
    """The seconds that have passed."""
    return asyncio.get_running_loop().time()


async def passes(seconds):
    """Let time pass, all at once."""
    await asyncio.sleep(seconds)
