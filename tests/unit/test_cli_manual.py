"""The manual's pages about commands say what the commands say of themselves; its links lead on."""

import re
import shlex
from pathlib import Path

import click
import pytest

from ollama_fleet.cli.commands import SECTIONS, fleet
from ollama_fleet.cli.manual import BY_HAND, END, INDEX, names, with_index, with_page
from ollama_fleet.cli.options import Command

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("**/*.md")), ROOT / "README.md"]


def _commands():
    """Every command and every command below one, by what is typed for it."""
    context = click.Context(fleet, info_name="fleet")
    for name in names():
        command = fleet.get_command(context, name)
        yield f"fleet {name}", command
        if isinstance(command, click.Group):
            yield from ((f"fleet {name} {below}", each) for below, each in command.commands.items())


COMMANDS = dict(_commands())
EXAMPLES = {line: command for command in COMMANDS.values() for line in command.examples}


@pytest.mark.parametrize("name", names())
def test_a_page_is_what_the_help_says_now(name):
    """A page that is stale is mended by scripts/docs; what is written by hand stays."""
    path = DOCS / "commands" / f"{name}.md"
    text = path.read_text() if path.exists() else ""
    assert text == with_page(text, name), f"{path} is stale: run scripts/docs"


def test_every_page_is_about_a_command():
    assert {path.stem for path in (DOCS / "commands").iterdir()} == set(names())


def test_the_overview_leads_to_every_page():
    text = (DOCS / "cli.md").read_text()
    assert text == with_index(text), "docs/cli.md is stale: run scripts/docs"


def test_what_is_written_by_hand_survives_another_help():
    """Everything above the line is made anew, nothing below it."""
    page = with_page(f"an old help\n{BY_HAND}\nby hand\n", "pull")
    assert page.startswith("# fleet pull\n")
    assert page.endswith(f"{BY_HAND}\nby hand\n")
    assert with_page(page, "pull") == page
    overview = with_index(f"before\n{INDEX}an old table\n{END}after\n")
    assert re.fullmatch(rf"before\n{INDEX}\|.*\|\n{END}after\n", overview, re.DOTALL)


@pytest.mark.parametrize("typed", COMMANDS)
def test_every_help_ends_with_examples_of_its_command(typed):
    """The last section of a help is one of examples, and each is about that very command."""
    command = COMMANDS[typed]
    told = command.get_help(click.Context(command, info_name=typed))
    assert isinstance(command, Command)
    assert command.examples
    assert all(typed in line for line in command.examples)
    _, _, last = told.rpartition("\n\n")
    assert last.splitlines()[0] == "Examples:"
    assert [line.strip() for line in last.splitlines()[2::2]] == list(command.examples)


def _arguments(line):
    """The words behind `fleet`, up to where the shell takes over."""
    (quoted,) = re.findall(r"\$\((.*)\)", line) or [line]
    words = shlex.shlex(quoted, posix=True, punctuation_chars="|>;&")
    words.whitespace_split = True
    found = list(words)
    ends = [at for at, word in enumerate(found) if word[0] in "|>;&"]
    return found[1 : min(ends, default=None)]


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_is_a_right_command_line(line, tmp_path, monkeypatch):
    """Click takes it as it is: no option that is not there, no value that is not allowed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace.csv").touch()  # of an example that reads one
    arguments = _arguments(line)
    context, command = click.Context(fleet, info_name="fleet"), fleet
    while isinstance(command, click.Group):
        name, *arguments = arguments
        command = command.get_command(context, name)
    taken = command.make_context(command.name, arguments, parent=context)
    assert taken.command.name in line


def test_a_wrong_example_is_found():
    """The test above sees what is behind a pipe as the shell's, and the rest as ours."""
    assert _arguments("fleet status -o json | jq -r '.x[]'") == ["status", "-o", "json"]
    assert _arguments('eval "$(fleet completion bash)"') == ["completion", "bash"]
    with pytest.raises(click.NoSuchOption):
        COMMANDS["fleet status"].make_context(
            "status", _arguments("fleet status --nosuch | jq")[1:]
        )


def _anchors(path):
    """The headings of a page as links name them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_the_manual_leads_to_a_page_and_a_heading(page):
    dead = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            dead.append(link)
    assert dead == []


def test_there_are_sections_and_examples():
    """What is gone through above is not nothing."""
    assert len(SECTIONS) > 3
    assert len(EXAMPLES) > 2 * len(names()) - 10
