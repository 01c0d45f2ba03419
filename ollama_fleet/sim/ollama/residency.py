"""Which models are in memory: what a request needs before it may run. Pure decisions.

The rules are Ollama's scheduler's: requests that need a load are decided strictly one at a time;
only idle models are unloaded for them, the one with the shortest keep_alive first and among equals
the one not used for longest; another set of runner options is another load of the same model.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ollama_fleet.sim.ollama.rates import Rates
from ollama_fleet.sim.ollama.slots import SlotPool

FOREVER_S = (2**63 - 1) / 1e9  # Go's longest duration: 292 years, shown as the year 2319


@dataclass(frozen=True, slots=True)
class Weights:
    """Stored weights as the scheduler sees them: identity is the blob, not the model's name."""

    digest: str
    size_bytes: int
    embedding: bool = False
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """The options that belong to a runner: a request with others has the model reloaded."""

    num_ctx: int = 4096
    num_batch: int = 512
    num_gpu: int = -1
    main_gpu: int = 0
    use_mmap: bool | None = None
    num_thread: int = 0

    def serves(self, wanted: "RunnerOptions") -> bool:
        """A runner with these options can take a request that wants others."""
        if wanted.num_gpu < 0:  # the client leaves it to us, and we have decided already
            wanted = replace(wanted, num_gpu=self.num_gpu)
        return self == wanted


@dataclass(slots=True, eq=False)
class Resident:
    """A model in memory. `expires_at` is None until it has been idle for the first time."""

    name: str
    weights: Weights
    options: RunnerOptions
    vram_bytes: int
    rates: Rates
    slots: SlotPool
    keep_alive_s: float
    last_used: float
    users: set[int] = field(default_factory=set)
    expires_at: float | None = None
    dead: bool = False

    @property
    def idle(self) -> bool:
        """Nobody uses it, not even from the queue for its slots."""
        return not self.users

    def expiry(self, now: float) -> float:
        """When it will go, as /api/ps shows it: moving until it was idle for the first time."""
        return now + self.stay_s if self.expires_at is None else self.expires_at

    @property
    def stay_s(self) -> float:
        """How long it stays after its last use."""
        return FOREVER_S if self.keep_alive_s < 0 else self.keep_alive_s

    def serves(self, weights: Weights, options: RunnerOptions) -> bool:
        """It can take this request as it is."""
        return not self.dead and self.weights == weights and self.options.serves(options)


@dataclass(frozen=True, slots=True)
class Use:
    """It is loaded: run there."""

    resident: Resident


@dataclass(frozen=True, slots=True)
class Unload:
    """Unload this one, then decide again."""

    resident: Resident


@dataclass(frozen=True, slots=True)
class Wait:
    """Room must be made and nothing is idle: decide again when something is."""


@dataclass(frozen=True, slots=True)
class Load:
    """Load it now, so much of it into VRAM."""

    vram_bytes: int


def decide(
    weights: Weights,
    options: RunnerOptions,
    residents: Sequence[Resident],
    *,
    budget_bytes: int,
    max_models: int,
    on_cpu: bool,
) -> Use | Unload | Wait | Load:
    """The next step for the request whose turn it is."""
    # 1. The model is loaded: used if the options agree, else unloaded as soon as it is idle.
    loaded = next((r for r in residents if r.weights.digest == weights.digest), None)
    if loaded is not None:
        if loaded.serves(weights, options):
            return Use(loaded)
        return Unload(loaded) if loaded.idle else Wait()
    # 2. Too many models.
    if max_models and len(residents) >= max_models:
        return _make_room(residents)
    # 3. Nothing of it goes to a GPU.
    if on_cpu or not budget_bytes or options.num_gpu == 0:
        return Load(0)
    # 4. It does not fit beside the others. Alone it is loaded in any case, in part if need be.
    in_vram = [r for r in residents if r.vram_bytes]
    used = sum(r.vram_bytes for r in in_vram)
    if in_vram and used + weights.size_bytes > budget_bytes:
        return _make_room(in_vram)
    return Load(min(weights.size_bytes, budget_bytes))


def _make_room(residents: Iterable[Resident]) -> Unload | Wait:
    idle = [r for r in residents if r.idle]
    if not idle:
        return Wait()
    return Unload(min(idle, key=lambda r: (r.stay_s, r.last_used)))
