"""YAML bytes -> plain values, and where each of them stands.

Every scalar stays the text that was written, but for the words for nothing; what a text means is
for its key to say. So `OLLAMA_X: on` remains `on`, a rejected value is shown as it was written, and
files, variables and flags are read alike. Whatever the bytes are, the answer is a `Document`: its
size, depth and number of nodes, aliases counted as often as they are used, are bounded.
"""

import copy
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from ollama_fleet.config.paths import KeyPath
from ollama_fleet.config.problems import Mark, Problem
from ollama_fleet.config.scalars import show_value

try:
    from yaml import CSafeLoader as EventReader
except ImportError:  # PyYAML without libyaml: slower, the same events
    from yaml import SafeLoader as EventReader  # type: ignore[assignment]

MAX_BYTES = 2**20
MAX_NODES = 10_000
MAX_DEPTH = 32
MAX_DIRECTIVES = 8  # libyaml compares every %TAG with all before it

_NOTHING = ("", "~", "null", "Null", "NULL")
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_DIRECTIVE = re.compile("(?:^|(?<=[\n\r\x85\u2028\u2029]))%")
_NOT_YAML = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry stands: its key, or its value where it has none, and its value."""

    key: Mark
    value: Mark


@dataclass(frozen=True, slots=True)
class Document:
    """A file as plain dicts, lists, texts and None; the value is None if it could not be read."""

    value: object = None
    places: dict[KeyPath, Place] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Branch:
    """A node with all below it; paths are relative to it."""

    value: object
    places: dict[KeyPath, Place]

    def height(self) -> int:
        return max(len(path) for path in self.places)


class _Unreadable(Exception):
    """Reading cannot go on."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


def scalar(text: str) -> str | None:
    """What an unquoted text stands for: itself, or nothing."""
    return None if text in _NOTHING else text


def read_document(data: bytes) -> Document:
    """Read a YAML file. Never raises; an empty one is an empty mapping."""
    try:
        text = _decoded(data)
        reader = _Reader(text)
    except _Unreadable as unreadable:
        return Document(problems=(unreadable.problem,))
    try:
        branch = reader.document()
    except _Unreadable as unreadable:
        return Document(problems=(*reader.problems, unreadable.problem))
    except yaml.YAMLError as error:
        return Document(problems=(*reader.problems, _syntax_problem(error, text)))
    return Document(branch.value, branch.places, tuple(reader.problems))


def _decoded(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise _Unreadable(Problem((), "larger than 1 MiB", mark=Mark(1, 1)))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        hint = "save the file as UTF-8"
        raise _Unreadable(Problem((), "not UTF-8", hint, mark=_end_of(before))) from None
    strange = _NOT_YAML.search(text)
    if strange is not None:
        reason = f"the character U+{ord(strange[0]):04X} is not allowed in YAML"
        raise _Unreadable(Problem((), reason, mark=_end_of(text[: strange.start()])))
    directives = list(_DIRECTIVE.finditer(text))
    if len(directives) > MAX_DIRECTIVES:
        mark = _end_of(text[: directives[MAX_DIRECTIVES].start()])
        raise _Unreadable(Problem((), f"more than {MAX_DIRECTIVES} lines begin with %", mark=mark))
    return text


def _end_of(text: str) -> Mark:
    lines = _LINE_END.split(text)
    return Mark(len(lines), len(lines[-1]) + 1)


def _syntax_problem(error: yaml.YAMLError, text: str) -> Problem:
    found = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "context", None) or str(error)
    mark = _mark(found, _end_of(text)) if found else Mark(1, 1)
    lines = _LINE_END.split(text)
    tab = lines[mark.line - 1][mark.column - 1 :].startswith("\t")
    return Problem((), f"not YAML: {reason}", "indent with blanks" if tab else "", mark=mark)


def _mark(mark: Any, end: Mark) -> Mark:
    """Count from 1, and no further than the text: libyaml ends one line below it."""
    return min(Mark(mark.line + 1, mark.column + 1), end)


class _Reader:
    """Builds the one document of a text from libyaml's events; recursion ends at MAX_DEPTH."""

    def __init__(self, text: str) -> None:
        self._events: Any = EventReader(text)  # the stubs do not tell one event from another
        self._anchors: dict[str, _Branch | None] = {}
        self._nodes = 0
        self._end = _end_of(text)
        self.problems: list[Problem] = []

    def document(self) -> _Branch:
        self._events.get_event()  # the start of the stream
        if self._events.check_event(yaml.StreamEndEvent):
            return _Branch({}, {(): Place(Mark(1, 1), Mark(1, 1))})
        self._events.get_event()  # the start of the document
        branch = self._node(())
        self._events.get_event()  # its end
        if not self._events.check_event(yaml.StreamEndEvent):
            mark = self._start(self._events.peek_event())
            self.problems.append(Problem((), "a second document begins", mark=mark))
        return _Branch({} if branch.value is None else branch.value, branch.places)

    def _node(self, path: KeyPath) -> _Branch:
        event = self._events.get_event()
        mark = self._start(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), path, mark)
        self._count(1, len(path), mark)
        if event.tag not in (None, "!"):
            reason = f"the tag {show_value(event.tag)} is not accepted"
            self.problems.append(Problem(path, reason, "write the plain value", mark=mark))
        if event.anchor is None:
            return self._branch(event, path, mark)
        self._anchors[event.anchor] = None  # an alias within would never end
        branch = self._anchors[event.anchor] = self._branch(event, path, mark)
        return branch

    def _branch(self, event: Any, path: KeyPath, mark: Mark) -> _Branch:
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path, mark)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path, mark)
        value = event.value if event.style else scalar(event.value)
        return _Branch(value, {(): Place(mark, mark)})

    def _sequence(self, path: KeyPath, mark: Mark) -> _Branch:
        values: list[object] = []
        places: dict[KeyPath, Place] = {(): Place(mark, mark)}
        while not self._events.check_event(yaml.SequenceEndEvent):
            index = len(values)
            item = self._node((*path, index))
            values.append(item.value)
            _graft(places, index, item)
        self._events.get_event()
        return _Branch(values, places)

    def _mapping(self, path: KeyPath, mark: Mark) -> _Branch:
        values: dict[str, object] = {}
        places: dict[KeyPath, Place] = {(): Place(mark, mark)}
        while not self._events.check_event(yaml.MappingEndEvent):
            at = self._start(self._events.peek_event())
            key = self._key(path, at)
            entry = self._node((*path, key))
            if key in values:
                hint = f"the first is in line {places[key,].key.line}"
                self.problems.append(Problem((*path, key), "stands here twice", hint, mark=at))
                continue
            values[key] = entry.value
            _graft(places, key, entry, at)
        self._events.get_event()
        return _Branch(values, places)

    def _key(self, path: KeyPath, mark: Mark) -> str:
        """Read a key as the text that is written; an alias or a collection is refused."""
        if self._events.check_event(yaml.ScalarEvent):
            text = self._events.peek_event().value
            self._node((*path, text))
            return str(text)
        raise _Unreadable(Problem(path, "a key must be plain text", mark=mark))

    def _alias(self, anchor: str, path: KeyPath, mark: Mark) -> _Branch:
        branch = self._anchors.get(anchor)
        if branch is None:
            known = anchor in self._anchors
            reason = "contains itself" if known else "stands for nothing above"
            raise _Unreadable(Problem(path, f"the alias *{anchor[:60]} {reason}", mark=mark))
        self._count(len(branch.places), len(path) + branch.height(), mark)
        return _Branch(copy.deepcopy(branch.value), branch.places)

    def _start(self, event: Any) -> Mark:
        return _mark(event.start_mark, self._end)

    def _count(self, nodes: int, depth: int, mark: Mark) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise _Unreadable(Problem((), f"more than {MAX_NODES} values", mark=mark))
        if depth > MAX_DEPTH:
            raise _Unreadable(Problem((), f"nested deeper than {MAX_DEPTH} levels", mark=mark))


def _graft(
    places: dict[KeyPath, Place], step: str | int, branch: _Branch, key: Mark | None = None
) -> None:
    """Add the places of a branch below `step`; the entry itself is found by its key."""
    for path, place in branch.places.items():
        places[(step, *path)] = place
    top = branch.places[()]
    places[(step,)] = Place(key or top.value, top.value)
