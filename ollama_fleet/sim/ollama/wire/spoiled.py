"""An answer that goes wrong on the wire: what befalls it, and where. Pure."""

from dataclasses import dataclass
from enum import Enum


class Harm(Enum):
    """What befalls an answer."""

    CUT = "cut"
    RESET = "reset"
    JUNK = "junk"


@dataclass(frozen=True, slots=True)
class Spoiled:
    """The harm, and how many chunks of the answer come before it; 0: not even its head does."""

    harm: Harm
    after_chunks: int = 0
