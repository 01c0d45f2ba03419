"""One tree from a file, the environment and flags, which remembers who said what."""

from dataclasses import dataclass
from typing import Any

from ollama_fleet.config.document import Document
from ollama_fleet.config.overrides import Override
from ollama_fleet.config.paths import KeyPath, show_path
from ollama_fleet.config.problems import Mark, Problem

NO_FILE = "configuration"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who said a value: a file with the marks of the entry, a variable, or a flag."""

    source: str
    key: Mark | None = None
    value: Mark | None = None

    def at(self, mark: Mark | None) -> str:
        """Write it for people, `fleet.yaml:12:3` where there is a position."""
        return f"{self.source}:{mark.line}:{mark.column}" if mark else self.source


class Layers:
    """The tree as said so far: the file's, with overrides laid over it one by one.

    It owns the values of the document that it is given.
    """

    def __init__(self, document: Document, label: str) -> None:
        self.tree: Any = {} if document.value is None else document.value
        self.origins = {
            path: Origin(label, place.key, place.value) for path, place in document.places.items()
        }
        self._top = Origin(label, Mark(1, 1), Mark(1, 1)) if label else Origin(NO_FILE)

    def put(self, override: Override) -> None:
        """Lay one value over the tree. Raises ValueError where it cannot stand."""
        value = override.value()
        path, origin = override.path, Origin(override.source)
        here = self.tree
        for depth, step in enumerate(path[:-1], start=1):
            here = _enter(here, step, [] if isinstance(path[depth], int) else {})
            self.origins.setdefault(path[:depth], origin)
        _enter(here, path[-1], None)
        here[path[-1]] = value
        for below in [known for known in self.origins if known[: len(path)] == path]:
            del self.origins[below]
        self.origins.update(dict.fromkeys(_paths_of(value, path), origin))

    def line(self, problem: Problem) -> str:
        """Write a problem on one line: `file:line:col: path: reason (hint)`."""
        where = f"{self._where(problem)}: "
        path = f"{show_path(problem.path)}: " if problem.path else ""
        hint = f" ({problem.hint})" if problem.hint else ""
        return f"{where}{path}{problem.reason}{hint}"

    def order(self, problem: Problem) -> tuple[bool, Mark]:
        """Sort key: as one reads the file, then what was said outside it."""
        mark = self._mark(problem)
        return (mark is None, mark or Mark(0, 0))

    def _where(self, problem: Problem) -> str:
        origin = self._top if problem.mark else self._nearest(problem.path)
        return origin.at(self._mark(problem))

    def _mark(self, problem: Problem) -> Mark | None:
        if problem.mark is not None:
            return problem.mark
        origin = self._nearest(problem.path)
        absent = problem.path not in self.origins
        return origin.key if problem.on_key or absent else origin.value

    def _nearest(self, path: KeyPath) -> Origin:
        """Who said the value at a path, or the nearest section around it."""
        lengths = range(len(path), -1, -1)
        return next(
            (self.origins[path[:n]] for n in lengths if path[:n] in self.origins), self._top
        )


def _enter(here: Any, step: str | int, empty: object) -> Any:
    """Return what stands at a step, `empty` having been put there if nothing did."""
    if isinstance(here, dict) and isinstance(step, str):
        return here.setdefault(step, empty)
    if isinstance(here, list) and isinstance(step, int):
        if step > len(here):
            raise ValueError(f"there are only {len(here)} entries before it")
        if step == len(here):
            here.append(empty)
        return here[step]
    raise ValueError("there is no section or list that could hold it")


def _paths_of(value: object, path: KeyPath) -> list[KeyPath]:
    """The path of a value and of all below it."""
    if isinstance(value, dict):
        return [path, *(p for key, item in value.items() for p in _paths_of(item, (*path, key)))]
    if isinstance(value, list):
        numbered = enumerate(value)
        return [path, *(p for index, item in numbered for p in _paths_of(item, (*path, index)))]
    return [path]
