"""The fleet of one run: a simulated box in processes of its own, as a user would start it."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from ollama_fleet.bench.demo.fleet import TemporaryFleet
from ollama_fleet.bench.demo.stage import Stage
from ollama_fleet.bench.processes.cases import Case, simulated_box
from ollama_fleet.bench.processes.contenders import Contender
from ollama_fleet.config import SupervisionConfig
from ollama_fleet.directories import Directories
from ollama_fleet.replay.layout import Layout

_FOREVER: Final = "24h"  # nobody who waits is sent away
_ANY_NUMBER: Final = 1_000_000
_LOADED: Final = re.compile(rb"llama runner started in ")
_PROBE_S: Final = 0.05  # at least, between two probes
_RESTART_S: Final = 0.3  # at most, so that a killed node is back when it is let live


@dataclass(frozen=True, slots=True)
class Served:
    """A fleet that can be asked: where it is, and, if it is our own, where it keeps things."""

    host: str
    port: int
    directories: Directories | None = None

    def pid(self) -> int:
        """Of the fleet's process; 0 of one that is not ours."""
        return int(self.directories.lock.read_text()) if self.directories else 0

    def loads(self) -> int:
        """Models that have been loaded since it was started; 0 of a fleet that is not ours."""
        if self.directories is None:
            return 0
        logs = [*self.directories.logs.glob("*.log"), *self.directories.logs.glob("*.log.*")]
        return sum(len(_LOADED.findall(path.read_bytes())) for path in logs)


@contextmanager
def simulated(
    case: Case, contender: Contender, *, time_scale: float, environ: Mapping[str, str]
) -> Iterator[Served]:
    """A simulated fleet for the length of a run, which knows nothing yet. Raises FleetError."""
    assert case.layout is not None, "a simulated fleet has a layout"
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        box = simulated_box(case.box, Path(folder))
        variables = {"OLLAMA_SIM_TIME_SCALE": f"{time_scale:g}", "OLLAMA_SIM_FAULTS": ""}
        document = configuration(case.layout, contender, time_scale)
        with temporary(document, Path(folder), variables, environ, box) as served:
            yield served


@contextmanager
def temporary(
    document: Mapping[str, Any],
    folder: Path,
    variables: Mapping[str, str],
    environ: Mapping[str, str],
    simulate: str = "",
) -> Iterator[Served]:
    """A fleet with this configuration, on its own port and in a state directory of its own."""
    path = folder / "fleet.yaml"
    path.write_text(yaml.safe_dump(dict(document)))
    stage = Stage("", simulate, {"FLEET_CONFIG": str(path), **variables})
    with TemporaryFleet(stage, environ, quiet=True) as fleet:
        host, _, port = fleet.url.removeprefix("http://").partition(":")
        yield Served(host, int(port), Directories.find(fleet.environ))


def configuration(layout: Layout, contender: Contender, time_scale: float) -> Mapping[str, Any]:
    """The fleet.yaml of a simulated fleet: a group per GPU, no bound on who may wait.

    What the layout has in memory from the start is loaded before the fleet counts as ready. Where
    time passes faster, instances are looked after more often: by the clock that they live by.
    """
    probe_s = SupervisionConfig().probe_interval_s / time_scale
    return {
        "groups": [
            {"name": host.spec.name, "gpus": [gpu.index], "num_parallel": host.spec.slots}
            for host in layout.hosts
            for gpu in host.spec.gpus
        ],
        "models": {name: {"preload": True} for name in layout.resident},
        **routing(contender),
        "supervision": {
            "probe_interval": f"{max(probe_s, _PROBE_S):g}s",
            "backoff_first": f"{_RESTART_S}s",
            "backoff_max": f"{_RESTART_S}s",
            "start_limit": _ANY_NUMBER,
        },
    }


def routing(contender: Contender) -> Mapping[str, Any]:
    """The parts of a fleet.yaml in which contenders differ, and a queue that bounds none."""
    return {
        "defaults": {"keep_alive": -1},
        "routing": {"strategy": contender.strategy, "model_aware": contender.model_aware},
        "queue": {"limit": _ANY_NUMBER, "timeout": _FOREVER},
    }
