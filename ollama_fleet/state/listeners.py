"""Who wants to know when something changed: plain callbacks, called at once, one after another."""

from collections.abc import Callable, Sequence

from ollama_fleet.errors import Failure
from ollama_fleet.gpu import GpuSample
from ollama_fleet.state.events import Notice
from ollama_fleet.state.instance import Instance
from ollama_fleet.state.leases import Lease
from ollama_fleet.state.records import Completed, Health, ResidentModel
from ollama_fleet.state.want import Want


class Listeners:
    """The callbacks of the store.

    `on_change`: the fleet is not what it was (a phase, a health, a store); `on_phase`: an
    instance's phase was published. `on_began` and `on_release`: a lease has begun, has
    ended; `on_answer`: an answer that is no error has begun; `on_outcome`: an attempt has ended.
    `on_want` and `on_load`: something is to be loaded; that has come to its end. `on_health` and
    `on_memory` are given what was before, `on_drain` the reason that an instance had for being out
    of rotation, `on_gpus` a reading, `on_notice` what has just happened: control makes `events` of
    it, which remembers.
    """

    def __init__(self) -> None:
        self.on_change: list[Callable[[], None]] = []
        self.on_phase: list[Callable[[Instance], None]] = []
        self.on_began: list[Callable[[Lease], None]] = []
        self.on_release: list[Callable[[Lease], None]] = []
        self.on_answer: list[Callable[[Lease], None]] = []
        self.on_outcome: list[Callable[[Lease, Completed | Failure], None]] = []
        self.on_want: list[Callable[[Want], None]] = []
        self.on_load: list[Callable[[Want, Failure | None], None]] = []
        self.on_health: list[Callable[[Instance, Health], None]] = []
        self.on_drain: list[Callable[[Instance, str | None], None]] = []
        self.on_memory: list[Callable[[Instance, Sequence[ResidentModel]], None]] = []
        self.on_gpus: list[Callable[[GpuSample], None]] = []
        self.on_notice: list[Callable[[Notice], None]] = []

    def notice(self, notice: Notice) -> None:
        """Say what has just happened, to whoever keeps account of it."""
        for tell in self.on_notice:
            tell(notice)

    def changed(self) -> None:
        """Tell everyone who asked that the fleet is not what it was."""
        for tell in self.on_change:
            tell()
