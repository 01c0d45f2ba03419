"""What came of one case. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """One case: what it was to show (`target`), what it showed (`found`), and whether that holds.

    `registry_bytes` are those that went out of the registry for it, `extra_disk_bytes` what it took
    on disks beyond one model each disk; None where a figure makes no sense. `holds` is None where
    nothing could be measured; `found` then says why. `figures` are all that was measured besides.
    """

    case: str
    target: str
    found: str
    holds: bool | None
    registry_bytes: int | None = None
    model_bytes: int | None = None
    extra_disk_bytes: int | None = None
    seconds: float | None = None
    ratio_to_cp: float | None = None
    figures: Mapping[str, object] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Whether it holds, in a word."""
        return {True: "holds", False: "MISSED", None: "not measured"}[self.holds]


def skipped(case: str, target: str, why: str) -> Row:
    """The row of a case that this machine cannot play."""
    return Row(case, target, why, holds=None)
