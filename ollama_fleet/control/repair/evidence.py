"""Does an instance hang? From what is seen of it, look after look. Pure.

An answer that is long in coming proves nothing: a prompt may take minutes. An instance hangs if its
slots are busy, nothing comes of it, *and* nothing works at it, for long enough.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

IDLE_GPU_RATIO: Final = 0.05  # of the GPU's time; a desktop on the same card uses as much
IDLE_CPUS: Final = 0.05  # of one CPU: what a server that only answers probes uses
IDLE_READ_BYTES_PER_S: Final = 2**20  # weights that do not fit into memory are read while they run
DOUBT: Final = 5  # times as long, where CPUs and GPUs do not tell the same, or GPUs tell nothing
LONGEST_S: Final = 10.0  # between two looks; after a longer pause of our own nothing is known of it


@dataclass(frozen=True, slots=True)
class Work:
    """What the processes of an instance did since the last look: CPUs in use, bytes read."""

    cpus: float
    read_bytes_per_s: float

    @property
    def is_little(self) -> bool:
        """No more than they do who have nothing to do."""
        return self.cpus <= IDLE_CPUS and self.read_bytes_per_s <= IDLE_READ_BYTES_PER_S


@dataclass(frozen=True, slots=True)
class Look:
    """An instance at one moment; `now_s` is monotonic.

    `starts` tells which of its processes it is, `signs` grows with every token and every answer,
    `busy` counts slots at work for clients that keep up. `gpu_ratio` is the utilisation of its
    busiest GPU, None without a reading, or without one that has ever moved; `in_vram`: all that it
    has in memory is in GPU memory; `blind`: it has GPUs of which nobody can tell what they do;
    `work` is None where it could not be read.
    """

    now_s: float
    starts: int
    signs: int
    busy: int
    loading: bool = False
    gpu_ratio: float | None = None
    in_vram: bool = False
    blind: bool = False
    work: Work | None = None


class Effort(Enum):
    """What an instance does while nothing comes of it."""

    WORKS = "works"
    DOUBTFUL = "doubtful"  # it may work: at cutting up a long input, or on a GPU that nobody sees
    STILL = "still"


@dataclass(frozen=True, slots=True)
class Stillness:
    """For how long slots have been busy in vain: `still_s` without work, `doubtful_s` perhaps.

    Time in which no slot is busy neither adds to it nor ends it: clients that lose patience, and
    others after them, are no sign of life.
    """

    still_s: float = 0.0
    doubtful_s: float = 0.0
    last: Look | None = None

    def after(self, look: Look) -> "Stillness":
        """What it has come to by that look."""
        before, anew = self.last, Stillness(last=look)
        if before is None or (look.starts, look.signs) != (before.starts, before.signs):
            return anew
        if not (look.busy and before.busy) or look.loading or before.loading:
            return replace(self, last=look)
        passed_s = min(look.now_s - before.now_s, LONGEST_S)
        match effort(look):
            case Effort.WORKS:
                return anew
            case Effort.DOUBTFUL:
                return replace(self, doubtful_s=self.doubtful_s + passed_s, last=look)
            case Effort.STILL:
                return replace(self, still_s=self.still_s + passed_s, last=look)

    def hangs(self, hang_after_s: float) -> bool:
        """Whether that is enough to say so."""
        long = self.still_s + self.doubtful_s >= DOUBT * hang_after_s
        return self.still_s >= hang_after_s or long

    @property
    def told(self) -> str:
        """The evidence, for people."""
        seconds, look = self.still_s + self.doubtful_s, self.last
        if look is None:
            return ""
        gpu = "" if look.gpu_ratio is None else f", its GPUs at {look.gpu_ratio:.0%}"
        cpus = "" if look.work is None else f", {look.work.cpus:.2f} CPUs in use"
        return f"{look.busy} slots busy and no token for {seconds:.0f} s{gpu}{cpus}"


def effort(look: Look) -> Effort:
    """What it did since the look before. Where nothing could be read it is taken to work.

    CPUs that run while the GPU does nothing, where all of its models are, may be cutting up a long
    input; and a GPU that nobody sees may be at work while the CPUs wait for it.
    """
    if look.gpu_ratio is not None and look.gpu_ratio > IDLE_GPU_RATIO:
        return Effort.WORKS
    if look.work is not None and look.work.is_little:
        return Effort.DOUBTFUL if look.blind else Effort.STILL
    idle = look.gpu_ratio is not None and look.in_vram
    return Effort.DOUBTFUL if idle else Effort.WORKS
