"""`python -m ollama_fleet.sim.ollama serve | --version | install --profile P --store DIR`."""

import os
import sys
from pathlib import Path

USAGE = """\
usage: python -m ollama_fleet.sim.ollama serve
       python -m ollama_fleet.sim.ollama --version
       python -m ollama_fleet.sim.ollama install [--profile NAME|FILE] --store DIRECTORY
"""


def main(arguments: list[str]) -> int:
    """Run one command; the exit code."""
    match arguments:
        case ["serve" | "start", *_]:
            _give_way(os.environ.get("OLLAMA_SIM_NICE", ""))
            from ollama_fleet.sim.ollama.serve import serve  # noqa: PLC0415  # --version is quick

            return serve(os.environ)
        case ["--version" | "-v"]:
            return _version()
        case ["install", *options] if len(options) % 2 == 0:
            return _install(dict(zip(options[::2], options[1::2], strict=True)))
        case _:
            sys.stderr.write(USAGE)
            return 2


def _give_way(niceness: str) -> None:
    """Leave the CPUs to others where somebody measures those: what follows, imports, costs most."""
    if niceness.isdecimal() and hasattr(os, "nice"):
        os.nice(int(niceness))


def _version() -> int:
    from ollama_fleet.sim.ollama.profile import DEFAULT, load  # noqa: PLC0415  # see above

    try:
        profile = load(os.environ.get("OLLAMA_SIM_PROFILE") or DEFAULT)
    except ValueError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    sys.stdout.write(f"ollama version is {profile.version}\n")
    return 0


def _install(options: dict[str, str]) -> int:
    from ollama_fleet.sim.ollama.catalogue import install_profile  # noqa: PLC0415  # see above
    from ollama_fleet.sim.ollama.profile import DEFAULT, load  # noqa: PLC0415
    from ollama_fleet.sim.ollama.store import Store  # noqa: PLC0415

    name = options.pop("--profile", None) or os.environ.get("OLLAMA_SIM_PROFILE") or DEFAULT
    directory = options.pop("--store", None) or os.environ.get("OLLAMA_MODELS")
    if options or not directory:
        sys.stderr.write(USAGE)
        return 2
    try:
        install_profile(Store(Path(directory)), load(name))
    except ValueError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
