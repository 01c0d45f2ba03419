"""The manual's pages about commands, made from what the commands say of themselves.

A page is written down to a line that tells so, and by hand below it: there is what is too long for
a help text. `scripts/docs` writes the pages; a test complains where one is not up to date.
"""

import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Final

import click

from ollama_fleet.cli.commands import ALIASES, SECTIONS, fleet
from ollama_fleet.cli.options import Command, GlobalOption

BY_HAND: Final = "<!-- Above: the command's help, by scripts/docs. Below: by hand. -->\n"
INDEX: Final = "<!-- The commands, by scripts/docs. -->\n"
END: Final = "<!-- End of the commands. -->\n"


def main() -> None:
    """Write the pages into the folder of the manual that the command line names."""
    docs = Path(sys.argv[1])
    pages = docs / "commands"
    pages.mkdir(exist_ok=True)
    for name in names():
        path = pages / f"{name}.md"
        path.write_text(with_page(path.read_text() if path.exists() else "", name))
    overview = docs / "cli.md"
    overview.write_text(with_index(overview.read_text()))


def names() -> list[str]:
    """All commands, in the order of `fleet --help`."""
    return [name for section in SECTIONS.values() for name in section]


def with_page(text: str, name: str) -> str:
    """A page that is there, or none yet, with what the command says of itself now."""
    return page(name) + BY_HAND + text.partition(BY_HAND)[2]


def with_index(text: str) -> str:
    """The overview with the table of the commands as it is now."""
    before, _, rest = text.partition(INDEX)
    return before + INDEX + index() + END + rest.partition(END)[2]


def page(name: str) -> str:
    """What a command says of itself: its help, arguments, options, and examples."""
    context = click.Context(fleet, info_name="fleet")
    command = fleet.get_command(context, name)
    assert isinstance(command, Command)
    also = (f"Also `fleet {alias}`." for alias, meant in ALIASES.items() if meant == name)
    about = _group(command) if isinstance(command, click.Group) else _about(command, "fleet")
    examples = "\n".join(f"# {meaning}\n{line}" for line, meaning in command.examples.items())
    parts = (f"# fleet {name}", *also, *about, "## Examples", f"```sh\n{examples}\n```", "")
    return "\n\n".join(parts)


def index() -> str:
    """A row for each section of the commands, which lead to their pages."""
    rows = [
        f"| {title} | {' · '.join(f'[{name}](commands/{name}.md)' for name in section)} |"
        for title, section in SECTIONS.items()
    ]
    return "\n".join(["| | |", "|---|---|", *rows]) + "\n"


def _group(command: click.Group) -> Iterator[str]:
    yield cleandoc(command.help or "")
    for each in command.commands.values():
        yield f"## fleet {command.name} {each.name}"
        yield from _about(each, f"fleet {command.name}")


def _about(command: click.Command, parent: str) -> Iterator[str]:
    """What it does, how it is called, its options."""
    context = click.Context(command, info_name=f"{parent} {command.name}")
    first, _, rest = cleandoc(command.help or "").partition("\n\n")
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield first
    yield f"```text\n{usage}\n```"
    if rest:
        yield rest
    rows = [row for param in command.params for row in _option(context, param)]
    if rows:
        yield "\n".join(["| option | meaning |", "|---|---|", *rows])


def _option(context: click.Context, param: click.Parameter) -> Iterator[str]:
    record = None if isinstance(param, GlobalOption) else param.get_help_record(context)
    if record is not None and record[1]:
        option, meaning = (cell.replace("|", "\\|") for cell in record)
        yield f"| `{option}` | {meaning} |"


if __name__ == "__main__":
    main()
