"""From a file, `FLEET_*` variables and flags to one Config, or to all that is wrong with them."""

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from ollama_fleet.config.conflicts import conflicts
from ollama_fleet.config.document import MAX_BYTES, Document, read_document
from ollama_fleet.config.json_schema import known_keys
from ollama_fleet.config.layers import Layers
from ollama_fleet.config.locate import home_of, label, locate, read_bytes
from ollama_fleet.config.overrides import (
    environment_overrides,
    flag_override,
    ollama_overrides,
)
from ollama_fleet.config.paths import show_path
from ollama_fleet.config.problems import MAX_PROBLEMS, Problem, problem_of
from ollama_fleet.config.records import CONFLICT, Config
from ollama_fleet.config.resolved import leaves, plain
from ollama_fleet.errors import ConfigError

DEFAULT = "default"

_PATHS = (
    ("auth", "keys_file"),
    ("ollama", "binary"),
    ("ollama", "models"),
    ("tls", "cert"),
    ("tls", "key"),
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, the file it came from, and for each of its keys who said the value.

    `origins` maps the path of a key to `fleet.yaml:12:3`, `FLEET_LISTEN`, `--listen` or `default`.
    """

    config: Config
    path: Path | None
    origins: Mapping[str, str]


def load(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    cwd: Path,
    overrides: Mapping[str, str],
) -> Loaded:
    """Resolve the configuration: flags over `FLEET_*` variables over the first file that is found.

    `path` is the file asked for, None to look for one; `overrides` are flags, dotted path -> text.
    `cwd` is absolute. Raises ConfigError with every problem at once, whatever the file holds.
    """
    file = locate(path, environ, cwd)
    document, name = Document({}), ""
    if file is not None:
        name = label(file, cwd)
        document = read_document(read_bytes(file, MAX_BYTES, name))
    layers = Layers(document, name)
    if document.value is None:
        raise ConfigError(_lines(layers, document.problems))
    misplaced = _lay_over(layers, environ, overrides)
    _locate_stores(layers, cwd)
    config, found = _validated(layers, _context(layers, environ, file, cwd))
    problems = (*misplaced, *_lines(layers, (*document.problems, *found)))
    if config is None or problems:
        raise ConfigError(problems)
    return Loaded(config, file, _origins(layers, config))


def _lay_over(
    layers: Layers, environ: Mapping[str, str], overrides: Mapping[str, str]
) -> tuple[str, ...]:
    """Put variables, then flags, over the file; return a line for each that has no place."""
    for override in ollama_overrides(environ):
        if override.path not in layers.origins:
            with contextlib.suppress(ValueError):  # the file is wrong there, which is reported
                layers.put(override)
    refused = []
    for override in environment_overrides(environ):
        try:
            layers.put(override)
        except ValueError as error:
            refused.append(f"{override.source}: {show_path(override.path)}: {error}")
    for flag, text in overrides.items():
        try:
            layers.put(flag_override(flag, text))
        except ValueError as error:
            refused.append(f"--{flag}: {error}")
    return tuple(refused)


def _context(
    layers: Layers, environ: Mapping[str, str], file: Path | None, cwd: Path
) -> Mapping[str, object]:
    """What paths are relative to: the folder of the file that says them, else the current one."""
    bases = {"store": file.parent if file else cwd}
    for section, key in _PATHS:
        origin = layers.origins.get((section, key))
        bases[key] = file.parent if file and origin and origin.key else cwd
    return {"home": home_of(environ), "bases": bases}


def _locate_stores(layers: Layers, cwd: Path) -> None:
    """Where the file did not say a group's store, a relative one starts at the current folder."""
    for path, origin in layers.origins.items():
        if path[:1] == ("groups",) and path[2:] == ("store",) and origin.key is None:
            group = layers.tree["groups"][path[1]]
            if isinstance(group["store"], str) and group["store"].strip()[:1] not in ("", "~"):
                group["store"] = str(cwd / group["store"].strip())


def _validated(
    layers: Layers, context: Mapping[str, object]
) -> tuple[Config | None, Sequence[Problem]]:
    tree = layers.tree
    if isinstance(tree, dict):  # only a section that stands there sees the context
        tree = {"ollama": {}, **tree}
    try:
        config = Config.model_validate(tree, context=dict(context), by_alias=True, by_name=False)
    except ValidationError as error:
        errors = [each for each in error.errors(include_url=False) if each["type"] != CONFLICT]
        known = [problem_of(each, known_keys) for each in errors[: MAX_PROBLEMS + 1]]
        between = itertools.islice(conflicts(layers.tree), MAX_PROBLEMS + 1)
        return None, [*known, *between] or [Problem((), str(error))]
    return config, ()


def _lines(layers: Layers, problems: Sequence[Problem]) -> tuple[str, ...]:
    ordered = sorted(problems, key=layers.order)
    if len(ordered) > MAX_PROBLEMS:
        last = ordered[MAX_PROBLEMS]
        ordered[MAX_PROBLEMS:] = [replace(last, reason="more problems follow from here", hint="")]
    return tuple(layers.line(problem) for problem in ordered)


def _origins(layers: Layers, config: Config) -> Mapping[str, str]:
    origins = {path: layers.origins.get(path) for path in leaves(plain(config))}
    return {
        show_path(path): origin.at(origin.key) if origin else DEFAULT
        for path, origin in origins.items()
    }
