"""What the doctor says of one subject."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a check ended: well, well enough to start, or not."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """A subject and how it stands; `fix` says what to do about it, and is empty only if ok."""

    name: str
    status: Status
    detail: str
    fix: str = ""
