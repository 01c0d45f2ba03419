"""The simulated servers of a replay, and what control would tell the store of them.

Loads are carried out as the store wants them, one at a time on each server; what is in memory is
listed in the store whenever it changes; a server that dies loses everything, and comes back empty.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from ollama_fleet.errors import ConnectFailed
from ollama_fleet.names import canonical
from ollama_fleet.replay.clock import Clock
from ollama_fleet.replay.layout import Host, Layout
from ollama_fleet.replay.server import Event, Happened, Server
from ollama_fleet.replay.stream import Stream
from ollama_fleet.sim.ollama.residency import Weights
from ollama_fleet.state import Instance, Phase, ResidentModel, State, Want

Told = Callable[[Stream, float], None]
"""What is done when something happened to a stream: it, and when."""


@dataclass(slots=True, eq=False)
class _Machine:
    """A host, its server of today, and the moment for which the clock holds its next event."""

    host: Host
    instance: Instance
    server: Server
    armed_s: float = math.inf
    slow: float = 1.0


class Plant:
    """All servers. `first` and `done` are told of streams; `lost` of those a dead server had."""

    def __init__(self, layout: Layout, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._weights = layout.weights
        self._keys = {w.digest: (key, w) for key, w in self._weights.items()}
        resident = [self._weights[canonical(name)] for name in layout.resident]
        self._machines = {
            host.spec.name: _Machine(
                host, state.instances[host.spec.name], Server.warm(host.hardware, resident)
            )
            for host in layout.hosts
        }
        self._wants: dict[tuple[str, str], Want] = {}
        self.loads = 0
        self.first: Told = _nobody
        self.done: Told = _nobody
        self.lost: Callable[[str], None] = lambda _name: None
        state.on_want.append(self._wanted)
        for machine in self._machines.values():
            state.set_phase(machine.instance, Phase.READY, 0.0)
            state.set_stored(machine.instance, layout.stored())
            self._list(machine)

    def weights(self, key: str) -> Weights:
        """A model's weights."""
        return self._weights[key]

    def submit(self, name: str, stream: Stream) -> None:
        """Send a request to an instance."""
        machine = self._machines[name]
        self._heed(machine, machine.server.submit(stream, self._clock.now_s))

    def slow_down(self, name: str, factor: float) -> None:
        """From now on everything takes so much longer there than its hardware needs."""
        machine = self._machines[name]
        machine.slow = factor
        self._heed(machine, machine.server.slow_down(factor, self._clock.now_s))

    def kill(self, name: str) -> None:
        """A server dies, with all that it has in memory and in hand."""
        machine, now_s = self._machines[name], self._clock.now_s
        machine.server, machine.armed_s = Server(machine.host.hardware), math.inf
        self._state.set_phase(machine.instance, Phase.BACKOFF, now_s, "killed")
        for at in [at for at in self._wants if at[0] == name]:
            self._state.not_loaded(self._wants.pop(at), ConnectFailed("killed"))
        self.lost(name)

    def restart(self, name: str) -> None:
        """It is back, with nothing in memory."""
        machine, now_s = self._machines[name], self._clock.now_s
        self._heed(machine, machine.server.slow_down(machine.slow, now_s))
        self._state.set_phase(machine.instance, Phase.READY, now_s)

    def _wanted(self, want: Want) -> None:
        name, digest = want.instance.name, want.residency.weights
        self._wants[name, digest] = want
        machine, (_, weights) = self._machines[name], self._keys[digest]
        self.loads += 1
        self._heed(machine, machine.server.load(weights, self._clock.now_s))

    def _heed(self, machine: _Machine, events: Iterable[Event]) -> None:
        """Tell everyone what happened, and have the clock call when something will."""
        for event in events:
            self._tell(machine, event)
        due_s = machine.server.next_due_s
        if due_s < machine.armed_s:
            machine.armed_s = due_s
            self._clock.at(due_s, partial(self._due, machine, machine.server, due_s))

    def _due(self, machine: _Machine, server: Server, armed_s: float) -> None:
        if server is not machine.server or machine.armed_s != armed_s:
            return  # it has died since, or is due earlier
        machine.armed_s = math.inf
        if server.next_due_s <= armed_s:
            for event in server.advance(armed_s):
                self._tell(machine, event)
            self._heed(machine, server.settle(armed_s))
        else:
            self._heed(machine, ())

    def _tell(self, machine: _Machine, event: Event) -> None:
        if event.kind is Happened.FIRST_TOKEN and event.stream is not None:
            self.first(event.stream, event.at_s)
        elif event.kind is Happened.DONE and event.stream is not None:
            self.done(event.stream, event.at_s)
        else:
            self._list(machine)
            want = self._wants.get((machine.instance.name, event.digest))
            if want is not None and event.kind is Happened.LOADED:
                del self._wants[machine.instance.name, event.digest]
                self._state.loaded(want)

    def _list(self, machine: _Machine) -> None:
        rows = []
        for resident in machine.server.residents:
            key, weights = self._keys[resident.weights.digest]
            row = {"name": key, "digest": weights.digest}
            size = weights.size_bytes
            rows.append(ResidentModel(key, key, size, resident.vram_bytes, "", row))
        self._state.set_resident(machine.instance, rows)


def _nobody(_stream: Stream, _at_s: float) -> None:
    """Nobody is told."""
