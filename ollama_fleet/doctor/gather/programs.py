"""What programs there are: the Ollama that the fleet would run, and what we run in ourselves."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module

import yaml

from ollama_fleet.control.program import said, told_version
from ollama_fleet.doctor.facts import BinaryFacts, ProgramFacts
from ollama_fleet.system.limits import open_files


def binary(wanted: str, environ: Mapping[str, str], timeout_s: float) -> BinaryFacts:
    """The program of that name, and what it says of its version within that time."""
    path = shutil.which(wanted, path=environ.get("PATH"))
    if path is None:
        return BinaryFacts(wanted)
    try:
        output = said(path, environ, timeout_s)
    except subprocess.TimeoutExpired:
        return BinaryFacts(wanted, path, trouble=f"it does not answer within {timeout_s:g} s")
    except OSError as error:
        return BinaryFacts(wanted, path, trouble=f"it cannot be run: {error.strerror or error}")
    found = told_version(output)
    words = " ".join(output.split())[:200] or "nothing"
    return BinaryFacts(wanted, path, found, "" if found else f"it says {words}")


def program() -> ProgramFacts:
    """This interpreter, its libraries and its limit."""
    _, most = open_files()  # `fleet up` takes all it may
    return ProgramFacts(
        python=sys.version_info[:3],
        yaml_in_c=hasattr(yaml, "CSafeLoader"),
        uvloop=_uvloop(),
        files=most,
    )


def _uvloop() -> str:
    with suppress(ImportError):
        return str(import_module("uvloop").__version__)
    return ""
