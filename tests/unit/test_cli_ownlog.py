"""What the log of a fleet in this process looks like: as told, or as it is read."""

import json
import logging
import os
import re
from contextlib import contextmanager

import click
import pytest

from ollama_fleet.cli.options import Options
from ollama_fleet.cli.ownlog import own_log
from ollama_fleet.config.sections import LogsConfig


@contextmanager
def stderr_is(monkeypatch, fd):
    """A process whose stderr is `fd`, with the log of a fleet."""
    with os.fdopen(os.dup(fd), "w") as stream, click.Context(click.Command("up")).scope():
        monkeypatch.setattr("sys.stderr", stream)
        yield


def written(monkeypatch, tmp_path, *, verbose=False, **keys):
    """What two lines come to, one debug and one warning, where stderr is a file."""
    path = tmp_path / "stderr"
    with (
        path.open("wb") as file,
        stderr_is(monkeypatch, file.fileno()),
        own_log(Options(verbose=verbose), LogsConfig(**keys), tmp_path / "fleet.log"),
    ):
        logging.getLogger("x").debug("fine")
        logging.getLogger("x").warning("bad", extra={"pid": 7})
    return path.read_text().splitlines()


@pytest.mark.parametrize("form", ["auto", "json"])
def test_who_is_not_at_a_terminal_gets_objects(monkeypatch, tmp_path, form):
    """One per line, unless told otherwise."""
    (line,) = written(monkeypatch, tmp_path, format=form)
    assert json.loads(line).items() >= {"event": "bad", "level": "warning", "pid": 7}.items()


def test_a_file_for_people_has_the_date_and_no_colours(monkeypatch, tmp_path):
    (line,) = written(monkeypatch, tmp_path, format="pretty")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d warning bad  pid=7", line)


@pytest.mark.parametrize(
    ("level", "verbose", "lines"),
    [("info", False, 1), ("debug", False, 2), ("error", False, 0), ("error", True, 2)],
)
def test_what_is_below_the_level_is_not_written(monkeypatch, tmp_path, level, verbose, lines):
    """`-v` is for once, and wins over the file."""
    assert len(written(monkeypatch, tmp_path, verbose=verbose, level=level)) == lines


@pytest.mark.parametrize(("no_color", "colour"), [("", True), ("1", False)])
def test_who_is_at_a_terminal_gets_lines_to_read(monkeypatch, tmp_path, no_color, colour):
    """In colours, unless the environment asks for none."""
    monkeypatch.setenv("NO_COLOR", no_color)
    reader, terminal = os.openpty()
    try:
        with stderr_is(monkeypatch, terminal), own_log(Options(), LogsConfig(), tmp_path / "l"):
            logging.getLogger("x").warning("bad")
        line = os.read(reader, 1000).decode()
    finally:
        os.close(reader)
        os.close(terminal)
    assert re.search(r"\d\d:\d\d:\d\d warning bad", line)
    assert ("\x1b[33m" in line) == colour
