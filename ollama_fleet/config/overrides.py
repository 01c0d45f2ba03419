"""What is said outside the file: `FLEET_QUEUE__LIMIT=64` and flags, as values for paths."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ollama_fleet.config.document import read_document, scalar
from ollama_fleet.config.locate import PATH_VARIABLE
from ollama_fleet.config.paths import KeyPath, parse_path
from ollama_fleet.config.shapes import Shape, shapes

PREFIX = "FLEET_"
OLLAMA_PATHS: Mapping[str, KeyPath] = {
    "OLLAMA_MODELS": ("ollama", "models"),
    "OLLAMA_ORIGINS": ("origins",),
}
_NOT_KEYS = frozenset((PATH_VARIABLE, "FLEET_STATE_DIR"))  # they say where things are
_NESTED = "__"
_ENV = "env"  # below it keys are variables, whose case matters


@dataclass(frozen=True, slots=True)
class Override:
    """The text for one key; `source` is the variable or the flag that gives it."""

    path: KeyPath
    text: str
    source: str

    def value(self) -> object:
        """Return what the text means there: itself, or YAML where a list or section stands.

        Raises ValueError if it is not YAML.
        """
        if not shapes(self.path):
            return scalar(self.text)
        document = read_document(self.text.encode(errors="replace"))
        if document.problems:
            raise ValueError(f"{self.text[:60]!r}: {document.problems[0].reason}")
        return document.value


def ollama_overrides(environ: Mapping[str, str]) -> Iterator[Override]:
    """Yield what Ollama's own variables say of the whole: the store, and the origins let in."""
    for variable, path in OLLAMA_PATHS.items():
        text = environ.get(variable, "").strip().strip("\"'")
        if text and path == ("origins",):
            text = json.dumps([item.strip() for item in text.split(",")])
        if text:
            yield Override(path, text, variable)


def environment_overrides(environ: Mapping[str, str]) -> Iterator[Override]:
    """Yield one override per `FLEET_*` variable that is not empty."""
    for name, text in sorted(environ.items()):
        if name.startswith(PREFIX) and name not in _NOT_KEYS and text:
            yield Override(_path_of(name.removeprefix(PREFIX)), text, name)


def flag_override(path: str, text: str) -> Override:
    """Return the override of a flag for a dotted path. Raises ValueError if it is none."""
    return Override(_with_indexes(parse_path(path)), text, f"--{path}")


def _path_of(name: str) -> KeyPath:
    head, env, variable = name.partition(f"{_NESTED}{_ENV.upper()}{_NESTED}")
    steps = head.lower().split(_NESTED)
    return _with_indexes((*steps, _ENV, variable) if env else tuple(steps))


def _with_indexes(path: KeyPath) -> KeyPath:
    """Turn digits into an index where a list stands."""
    done: KeyPath = ()
    for step in path:
        index = str(step).isdecimal() and Shape.LIST in shapes(done)
        done = (*done, int(step) if index else step)
    return done
