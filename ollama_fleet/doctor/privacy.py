"""What other users of the machine can get at that is for the fleet's own alone."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ollama_fleet.config import Config
from ollama_fleet.doctor.check import Check, Status
from ollama_fleet.doctor.facts import Facts, OpenFacts

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_ANYBODY: Final = stat.S_IRWXO  # a key of TLS may be for a group: Debian's ssl-cert, say


def privacy(facts: Facts) -> Iterator[Check]:
    """Whether they can: a folder that was there before the fleet keeps the mode that it had."""
    for found in facts.open_to_others:
        verb = "change" if found.writable else "read"
        yield Check(
            "privacy",
            Status.WARN,
            f"others may {verb} {found.path} (mode {found.mode:04o})",
            f"chmod {found.mode & ~found.excess:04o} {found.path}",
        )
    if not facts.open_to_others:
        yield Check("privacy", Status.OK, "what the fleet keeps is for its user alone")


def open_to_others(config: Config, state: Path) -> Iterator[OpenFacts]:
    """The places of a fleet that others can get at, with its folder `state`. Changes nothing.

    Modes say nothing of that on Windows.
    """
    if not hasattr(os, "geteuid"):
        return
    places = [(state, _OTHERS), (state / "logs", _OTHERS), (state / "runs", _OTHERS)]
    places.append((config.auth.keys_file or state / "keys.json", _OTHERS))
    if config.tls.key is not None:
        places.append((config.tls.key, _ANYBODY))
    for path, excess in places:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:  # it is made with the right mode, or is missed by who needs it
            continue
        if mode & excess:
            yield OpenFacts(str(path), mode, excess)
