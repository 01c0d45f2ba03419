"""A resolved configuration as YAML that loads to the same, with its origins if wanted."""

from typing import Any

import yaml

from ollama_fleet.config.document import read_document, scalar
from ollama_fleet.config.loading import Loaded
from ollama_fleet.config.paths import show_path
from ollama_fleet.config.resolved import is_flat, leaves, plain


class _Writer(yaml.SafeDumper):
    """Sections as blocks, lists of scalars in brackets, every scalar on one line."""


def show(loaded: Loaded, *, origin: bool = False) -> str:
    """Write the whole configuration, defaults included; `origin` adds who said each value."""
    tree = plain(loaded.config)
    text = yaml.dump(tree, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=2**30)
    return _with_origins(text, tree, loaded) if origin else text


def _with_origins(text: str, tree: dict[str, Any], loaded: Loaded) -> str:
    lines = text.splitlines()
    places = read_document(text.encode()).places
    for path in leaves(tree):
        lines[places[path].value.line - 1] += f"  # {loaded.origins[show_path(path)]}"
    return "\n".join(lines) + "\n"


def _write_text(writer: yaml.SafeDumper, text: str) -> yaml.Node:
    one_line = text.isprintable() and scalar(text) is not None
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=None if one_line else '"')


def _write_list(writer: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    return writer.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=is_flat(items))


def _write_section(writer: yaml.SafeDumper, section: dict[str, Any]) -> yaml.Node:
    return writer.represent_mapping("tag:yaml.org,2002:map", section.items(), flow_style=False)


_Writer.add_representer(str, _write_text)
_Writer.add_representer(list, _write_list)
_Writer.add_representer(dict, _write_section)
