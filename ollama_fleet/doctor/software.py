"""Judgements on programs: our own interpreter and libraries, and Ollama. Pure."""

import re
from collections.abc import Iterator
from typing import Final

from ollama_fleet.doctor.check import Check, Status
from ollama_fleet.doctor.facts import Facts

PYTHON: Final = (3, 11)
SAFE_OLLAMA: Final = (0, 17, 1)
_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")


def parse_version(text: str) -> tuple[int, int, int] | None:
    """The numbers of a version; None for what is none, and for 0.0.0, as unreleased builds say."""
    match = _VERSION.match(text.strip())
    numbers = (int(match[1]), int(match[2]), int(match[3])) if match else (0, 0, 0)
    return numbers if any(numbers) else None


def python(facts: Facts) -> Iterator[Check]:
    """Whether the interpreter is new enough."""
    version = _dotted(facts.program.python)
    if facts.program.python < PYTHON:
        fix = f"install Python {_dotted(PYTHON)} or newer, and `fleet` into it"
        yield Check("python", Status.FAIL, f"Python {version} is too old", fix)
    else:
        yield Check("python", Status.OK, f"Python {version}")


def libraries(facts: Facts) -> Iterator[Check]:
    """Whether the libraries that make it quick are there; it runs without them."""
    if facts.program.uvloop:
        yield Check("uvloop", Status.OK, f"uvloop {facts.program.uvloop}")
    elif facts.keeps_instances:  # there is none for Windows
        yield Check(
            "uvloop",
            Status.WARN,
            "uvloop cannot be used: the router takes more CPU per token",
            "install it beside `fleet`: pip install uvloop",
        )
    if facts.program.yaml_in_c:
        yield Check("yaml", Status.OK, "PyYAML has its C loader")
    else:
        yield Check(
            "yaml",
            Status.WARN,
            "PyYAML lacks its C loader: fleet.yaml is read slowly",
            "install the wheel, which has it: pip install --force-reinstall PyYAML",
        )


def binary(facts: Facts) -> Iterator[Check]:
    """Whether there is an Ollama to run, and one that is safe to run."""
    found = facts.binary
    if not facts.runs_own:
        return
    if not found.path:
        yield Check(
            "ollama",
            Status.FAIL,
            f"`{found.wanted}` is not there or cannot be run",
            "install Ollama (https://ollama.com/download), or set `ollama.binary` to its path",
        )
        return
    numbers = parse_version(found.version)
    if numbers is None:
        why = found.trouble or f"it calls itself {found.version or 'nothing'}"
        yield Check(
            "ollama",
            Status.WARN,
            f"{found.path} is of unknown version: {why}",
            f"try `{found.path} --version`; a released build of Ollama answers with its version",
        )
    elif numbers < SAFE_OLLAMA:
        yield Check(
            "ollama",
            Status.WARN,
            f"{found.path} is Ollama {found.version}, which has CVE-2026-7482:"
            " who may create models can read the server's memory",
            f"update Ollama to {_dotted(SAFE_OLLAMA)} or newer",
        )
    else:
        yield Check("ollama", Status.OK, f"{found.path} is Ollama {found.version}")


def versions(facts: Facts) -> Iterator[Check]:
    """Whether all instances, the external ones too, are of one version: they answer as one."""
    if not facts.externals:
        return
    silent = [name for name, version in facts.externals.items() if not version]
    if silent:
        yield Check(
            "external",
            Status.WARN,
            f"no version from {', '.join(silent)}",
            "see that they run, and that their `url` in fleet.yaml is right",
        )
    told = {"the fleet's own": facts.binary.version} if facts.runs_own else {}
    told |= facts.externals
    listed = ", ".join(f"{name} {version}" for name, version in told.items() if version)
    if len({version for version in told.values() if version}) > 1:
        yield Check(
            "versions",
            Status.WARN,
            f"instances of different versions answer differently: {listed}",
            "bring them to one version of Ollama",
        )
    elif listed:
        yield Check("versions", Status.OK, f"of one version: {listed}")


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
