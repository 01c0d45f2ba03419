"""Real Ollama: a running fleet by its URL, or unequal instances of our own on CPU sets.

Nothing is known of how fast they are, so that the rate is the user's, and there is no replay.
"""

import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ollama_fleet.bench.processes.cases import FAMILIES, Case
from ollama_fleet.bench.processes.contenders import Contender
from ollama_fleet.bench.processes.fleets import Served, routing, temporary
from ollama_fleet.errors import FleetError
from ollama_fleet.replay import lengths, workload
from ollama_fleet.replay.job import Job
from ollama_fleet.replay.workload import Sizes

_OUTPUT_TOKENS: Final = (4, 1000)
_PROMPT_TOKENS: Final = (4, 8000)
_CPUS: Final = "BENCH_CPUS"
_HTTP_PORT: Final = 80


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of real instances: prompts and answers are `shorter` times as short."""

    model: str
    rate_per_s: float
    arrivals: str
    shorter: float


@dataclass(frozen=True, slots=True)
class Own:
    """Instances to start: an ollama binary, a model store, and a CPU list for each, as `0,2-3`."""

    binary: str
    models: Path
    cpus: Sequence[str]
    slots: int


def case(asked: Asked, contenders: Sequence[str]) -> Case:
    """The same arrivals and lengths as of the simulated cases, but for the rate and `shorter`."""
    kind = FAMILIES[asked.arrivals]
    sizes = Sizes(
        _shorter(lengths.CONVERSATION_PROMPT, asked.shorter, *_PROMPT_TOKENS),
        _shorter(lengths.CONVERSATION_OUTPUT, asked.shorter, *_OUTPUT_TOKENS),
    )

    def jobs(seed: int, number: int) -> Sequence[Job]:
        process = kind.arrivals(asked.rate_per_s)
        return workload.independent(number, process, {asked.model: 1.0}, seed=seed, sizes=sizes)

    name = f"{kind.title}, {asked.rate_per_s:g}/s"
    return Case(name, asked.arrivals, asked.rate_per_s, contenders, jobs)


def at_url(url: str) -> Callable[[Case, Contender], AbstractContextManager[Served]]:
    """Opens the fleet that runs there, as often as one likes. Raises FleetError if it is no URL."""
    try:
        parts, port = urlsplit(url), urlsplit(url).port or _HTTP_PORT
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname:
        raise FleetError(f"{url} is not the URL of a fleet", "such as http://127.0.0.1:11434")
    served = Served(parts.hostname, port)
    return lambda _case, _contender: nullcontext(served)


@contextmanager
def started(
    _case: Case, contender: Contender, *, own: Own, model: str, environ: Mapping[str, str]
) -> Iterator[Served]:
    """A fleet of real instances for the length of a run. Raises FleetError."""
    binary, taskset = shutil.which(own.binary), shutil.which("taskset")
    if binary is None or taskset is None:
        missing = "taskset" if binary else own.binary
        raise FleetError(f"{missing} was not found")
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        program = Path(folder) / "ollama"
        program.write_text(_pinned(taskset, binary))
        program.chmod(0o700)
        document = {**_configuration(own, model, program), **routing(contender)}
        document["defaults"] = {**document["defaults"], "num_parallel": own.slots}
        with temporary(document, Path(folder), {}, environ) as served:
            yield served


def _configuration(own: Own, model: str, program: Path) -> dict[str, Any]:
    """A group for each CPU list, the model in memory everywhere before a run begins."""
    return {
        "ollama": {"binary": str(program), "models": str(own.models.absolute())},
        "groups": [
            {"name": f"node{number}", "gpus": [], "env": {_CPUS: cpus}}
            for number, cpus in enumerate(own.cpus)
        ],
        "models": {model: {"preload": True}},
    }


def _pinned(taskset: str, binary: str) -> str:
    """A program that runs Ollama on the CPUs of its group, and on all where none are named."""
    command = shlex.quote(str(Path(binary).absolute()))
    return (
        "#!/bin/sh\n"
        f'[ -z "${_CPUS}" ] && exec {command} "$@"\n'
        f'exec {shlex.quote(taskset)} -c "${_CPUS}" {command} "$@"\n'
    )


def _shorter(draw: lengths.Draw, factor: float, least: int, most: int) -> lengths.Draw:
    return lambda rng: min(max(round(draw(rng) / factor), least), most)
