"""Models promised to an instance's memory that are more than it has: the arithmetic. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from ollama_fleet.placement.needs import Claim, shared_bytes
from ollama_fleet.placement.seats import Seat
from ollama_fleet.placement.shares import show_gpus
from ollama_fleet.units import show_bytes


@dataclass(frozen=True, slots=True)
class Misfit:
    """What cannot be in memory on a `seat` at once.

    One claim is a pinned model that is too large; several are models that are all loaded at start.
    """

    seat: Seat
    claims: tuple[Claim, ...]

    @property
    def room_bytes(self) -> float:
        """What models may have of its GPUs; infinite on the CPU."""
        return self.seat.room_bytes

    @property
    def at(self) -> tuple[str, tuple[str, ...]]:
        """The group, and the models: what stays the same while its settings are changed."""
        return self.seat.group, tuple(claim.model for claim in self.claims)

    @property
    def needed_bytes(self) -> int:
        """What they take together."""
        return sum(claim.total_bytes for claim in self.claims) - shared_bytes(self.claims)

    @property
    def surely(self) -> bool:
        """Whether they do not fit even if all that is guessed were nothing."""
        least_bytes = sum(claim.sure_bytes for claim in self.claims)
        return least_bytes - shared_bytes(self.claims) > self.room_bytes

    def __str__(self) -> str:
        """The sum and what it is more than."""
        return f"group `{self.seat.group}` cannot hold {arithmetic(self)}"


def arithmetic(misfit: Misfit) -> str:
    """`m: 30.1 GiB (…), but GPU 0 has 23.6 GiB for models: 6.5 GiB too much`."""
    each = [f"{claim.model}: {claim}" for claim in misfit.claims]
    if len(each) > 1:
        shared = shared_bytes(misfit.claims)
        once = f" as {show_bytes(shared)} of the overheads is the same" if shared else ""
        each[-1] += f", together {show_bytes(misfit.needed_bytes)}{once}"
    over = show_bytes(misfit.needed_bytes - misfit.room_bytes)
    return f"{' + '.join(each)}, but {show_room(misfit.seat)}: {over} too much"


def show_room(seat: Seat) -> str:
    """`GPU 0 (NVIDIA L4, 24.0 GiB) has 23.5 GiB for models`, or an instance's part of that."""
    gpus = show_gpus(seat.gpus)
    have = "have" if len(seat.gpus) > 1 else "has"
    each = f" for each of {seat.sharers} instances" if seat.sharers > 1 else ""
    return f"{gpus} {have} {show_bytes(seat.room_bytes)} for models{each}"


def told(misfits: Sequence[Misfit]) -> str:
    """All of them, a sentence each."""
    return "; ".join(map(str, misfits))
