"""The process environment as settings: Ollama's own variables and the simulation's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ollama_fleet.sim.ollama.profile import DEFAULT, Node, Profile, load
from ollama_fleet.sim.ollama.rates import Rates, slowest
from ollama_fleet.units import parse_duration

LOAD_TIMEOUT_S = KEEP_ALIVE_S = 300.0
DEFAULT_PORT = 11434
_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the environment decides. Times in seconds, already what the clock will show."""

    host: str
    port: int
    models: Path
    profile: Profile
    nodes: tuple[Node, ...]
    gpu: Rates | None
    cpu: Rates
    parallel: int
    max_queue: int
    max_models: int
    keep_alive_s: float
    load_timeout_s: float
    context_length: int
    prune: bool
    origins: tuple[str, ...]
    cloud: bool
    time_scale: float
    seed: str
    hardware: Path | None
    faults: str | None
    journal: Path | None
    runners: bool
    overridden: tuple[tuple[str, str], ...]

    @property
    def memory_bytes(self) -> int:
        """VRAM for models of all GPUs it sees."""
        return sum(node.memory_bytes - node.reserved_bytes for node in self.nodes)


def read(environment: Mapping[str, str], *, find_gpus: bool = True) -> Settings:
    """Read an environment. Raises ValueError where this program cannot start with it.

    With `find_gpus` False no GPU is seen, whatever the environment says.
    """

    def text(name: str, default: str = "") -> str:
        return environment.get(name, default).strip().strip("\"'")

    profile = load(text("OLLAMA_SIM_PROFILE") or DEFAULT)
    scale = float(text("OLLAMA_SIM_TIME_SCALE") or 1)
    if scale <= 0:
        raise ValueError("OLLAMA_SIM_TIME_SCALE must be positive")
    nodes, overridden = visible(profile.nodes, environment)
    nodes = nodes if find_gpus else ()
    slots = min((node.slots for node in nodes), default=profile.cpu_slots)
    host, port = _address(text("OLLAMA_HOST"))
    home = Path(environment.get("HOME", "/"))
    return Settings(
        host=host,
        port=port,
        models=Path(text("OLLAMA_MODELS") or home / ".ollama" / "models"),
        profile=profile,
        nodes=nodes,
        gpu=slowest([node.rates for node in nodes]).faster(scale) if nodes else None,
        cpu=profile.cpu.faster(scale),
        parallel=_count(text("OLLAMA_NUM_PARALLEL")) or slots,
        max_queue=_count(text("OLLAMA_MAX_QUEUE"), 512),
        max_models=_count(text("OLLAMA_MAX_LOADED_MODELS")) or 3 * max(len(nodes), 1),
        keep_alive_s=_seconds(text("OLLAMA_KEEP_ALIVE"), KEEP_ALIVE_S),
        load_timeout_s=_seconds(text("OLLAMA_LOAD_TIMEOUT"), LOAD_TIMEOUT_S),
        context_length=_count(text("OLLAMA_CONTEXT_LENGTH")),
        prune=not _flag(text("OLLAMA_NOPRUNE")),
        origins=tuple(filter(None, text("OLLAMA_ORIGINS").split(","))),
        cloud=not _flag(text("OLLAMA_NO_CLOUD")),
        time_scale=scale,
        seed=text("OLLAMA_SIM_SEED") or "0",
        hardware=Path(hardware) if (hardware := text("OLLAMA_SIM_HARDWARE")) else None,
        faults=environment.get("OLLAMA_SIM_FAULTS"),
        journal=Path(journal) if (journal := text("OLLAMA_SIM_JOURNAL")) else None,
        runners=_flag(text("OLLAMA_SIM_RUNNER")),
        overridden=overridden,
    )


def visible(
    nodes: tuple[Node, ...], environment: Mapping[str, str]
) -> tuple[tuple[Node, ...], tuple[tuple[str, str], ...]]:
    """The GPUs a process with this environment sees, and the variables that chose them.

    As the drivers have it: no variable means all, the list ends at the first unknown entry.
    Entries are UUIDs or indices. Each vendor's cards go by its own variable, where that is not set
    by the other's.
    """
    chosen = tuple((name, environment[name]) for name in _VARIABLES if name in environment)
    if not chosen:
        return nodes, ()
    seen: list[Node] = []
    for vendor, names in (("nvidia", _VARIABLES), ("amd", _VARIABLES[::-1])):
        own = tuple(node for node in nodes if node.vendor == vendor)
        listed = next(environment[name] for name in names if name in environment)
        seen += _listed(own, listed)
    return tuple(seen), chosen


def _listed(nodes: tuple[Node, ...], listed: str) -> list[Node]:
    known = {node.uuid.lower(): node for node in nodes}
    known |= {str(place): node for place, node in enumerate(nodes)}
    seen: list[Node] = []
    for entry in listed.split(","):
        node = known.get(entry.strip().lower())
        if node is None or node in seen:
            break
        seen.append(node)
    return seen


def _address(text: str) -> tuple[str, int]:
    scheme, mark, rest = text.partition("://")
    default = {"http": 80, "https": 443}.get(scheme, DEFAULT_PORT) if mark else DEFAULT_PORT
    authority = (rest if mark else text).partition("/")[0]
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, ""
    number = int(port) if port.isdecimal() and int(port) <= 65535 else default
    return host.strip("[]") or "127.0.0.1", number


def _count(text: str, default: int = 0) -> int:
    return int(text) if text.isdecimal() else default


def _seconds(text: str, default: float) -> float:
    try:
        return parse_duration(text)
    except ValueError:
        return default


def _flag(text: str) -> bool:
    # As Go's ParseBool, except that what it cannot read counts as true.
    return text.lower() not in {"", "0", "f", "false"}
