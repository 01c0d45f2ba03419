"""The manual can be followed: links lead somewhere, commands and each fleet.yaml are right."""

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from itertools import dropwhile, pairwise
from pathlib import Path

import click
import pytest

from ollama_fleet.cli.commands import fleet
from ollama_fleet.config import load

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = {page: str(page.relative_to(ROOT)) for page in PAGES}
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
INCOMPLETE = (
    click.exceptions.Exit,
    click.exceptions.NoArgsIsHelpError,
    click.MissingParameter,
    click.BadOptionUsage,
)
INDEX = ROOT / "docs" / "README.md"


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in these languages."""
    found = FENCE.findall(page.read_text())
    return [text for _, language, text in found if language in languages]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


# -- links -----------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and most renderers make them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    bare = (re.sub(r"\]\([^)]*\)", "", title).lower() for title in titles)
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in bare}


def dead(page: Path) -> Iterator[str]:
    """The relative links of a page that lead nowhere."""
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_every_relative_link_leads_somewhere(page):
    """To a file that is there and, behind a `#`, to a heading in it."""
    assert list(dead(page)) == []


def test_the_index_leads_to_every_page():
    linked = {
        (INDEX.parent / link).resolve() for link in re.findall(r"\]\(([\w./-]+\.md)", prose(INDEX))
    }
    beside = {page for page in PAGES if page.parent == INDEX.parent} - {INDEX}
    assert beside <= linked


# -- commands --------------------------------------------------------------------------------------


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each `fleet …` that a page has typed in a shell, also within a line."""
    typed = re.findall(r"^\$ (.*\n)", "".join(blocks(page, "console")), re.MULTILINE)
    text = "".join([*typed, *blocks(page, "sh")]).replace("\\\n", " ")
    for line in re.sub(r"#.*?\s{3,}(?=fleet )", "\n", text).splitlines():
        if re.search(r"\bfleet ", line):
            yield from within(tokens(line))


def tokens(line: str) -> list[str]:
    """A line as a shell takes it apart, without its comment."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


def within(words: list[str]) -> Iterator[list[str]]:
    """The arguments of each `fleet` in the words of a line; what stands before it may be set."""
    ends = [i for i, word in enumerate(words) if set(word) <= set("();<>|&")]
    for start, end in pairwise((-1, *ends, len(words))):
        part = [*dropwhile(lambda word: word == "$" or "=" in word, words[start + 1 : end])]
        if part[:1] == ["fleet"]:
            yield part[1:]


def parse(words: list[str]) -> None:
    """Read a command line as `fleet` would, and run nothing. Raises what click raises."""
    command: click.Command = fleet
    context = command.make_context("fleet", list(words))
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]  # click tells them nowhere else
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, found.make_context(name, rest, parent=context)


WRITTEN = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(
    ("page", "words"), WRITTEN, ids=[f"{NAMES[page]}: {' '.join(words)}" for page, words in WRITTEN]
)
def test_every_command_of_a_block_can_be_typed(page, words, tmp_path, monkeypatch):
    """It is a command that there is, with options that it has, where its files are there."""
    monkeypatch.chdir(tmp_path)
    for file in (word for word in words if re.fullmatch(r"[\w-]+\.(csv|yaml)", word)):
        Path(file).touch()
    try:
        with suppress(click.exceptions.Exit):  # --help, --version
            parse(words)
    except click.UsageError as error:
        pytest.fail(f"{NAMES[page]}: fleet {' '.join(words)}: {error.format_message()}")


def test_a_command_that_there_is_not_is_seen():
    """The check checks: a wrong command, a wrong option, a value that is none of those allowed."""
    for words in (["upp"], ["up", "--fast"], ["status", "-o", "xml"], ["config", "chek"]):
        with pytest.raises(click.UsageError):
            parse(words)


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_every_command_that_is_mentioned_is_one(page):
    """Whatever stands in the text as `fleet …`, with options that there are, if not complete."""
    said = re.findall(r"`(fleet [a-z]+(?: [^`…|[]+)?)`", prose(page).replace("\n", " "))
    for words in (words for code in said for words in within(tokens(code))):
        with suppress(*INCOMPLETE):
            parse(words)


# -- tests and files -------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_every_test_and_file_that_is_named_is_there(page):
    """A claim is held by the test that the manual names."""
    text = page.read_text()
    for path in re.findall(r"`((?:ollama_fleet|scripts|tests|deploy|docs)/[\w./-]*)", text):
        assert (ROOT / path).exists()
    for path, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)", text):
        assert f"def {test}(" in (ROOT / path).read_text()


# -- configurations --------------------------------------------------------------------------------


YAMLS = [
    pytest.param(text, id=f"{NAMES[page]}-{n}")
    for page in PAGES
    for n, text in enumerate(blocks(page, "yaml"))
]


@pytest.mark.parametrize("text", YAMLS)
def test_every_fleet_yaml_is_valid(text, tmp_path):
    """What is in the language `yaml` is one without a mistake; another program's is in `yml`."""
    file = tmp_path / "fleet.yaml"
    file.write_text(text)
    load(file, environ={"HOME": "/home/ada"}, cwd=tmp_path, overrides={})


def test_enough_is_checked():
    assert min(len(WRITTEN), len(PAGES)) > 20
    assert len(YAMLS) > 10
