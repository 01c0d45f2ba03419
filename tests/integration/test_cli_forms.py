"""Every command that prints data prints it for people, for programs, and not at all with -q."""

import json
import urllib.request

import pytest
import yaml
from cli_fixtures import Cli, Done, until

from ollama_fleet import cli as command_line
from ollama_fleet.cli.manual import names

ANSWERS = {  # a document each
    "config check": 0,
    "config show --origin": 0,
    "doctor": None,  # whatever it thinks of this machine
    "drain gpu-1": 0,
    "explain last": 0,
    "history": 0,
    "init another.yaml --force": 0,
    "keys list": 0,
    "list": 0,
    "load tiny": 0,
    "metrics": 0,
    "plan --simulate box.yaml": 0,
    "reload --dry-run": 0,
    "replay --requests 20 --layout box.yaml": 0,
    "restart gpu-0": 0,
    "show tiny": 0,
    "status": 0,
    "stop tiny": 0,
    "sync --dry-run tiny": 0,
    "undrain gpu-1": 0,
    "usage": 0,
    "version": 0,
}
SILENT = (*ANSWERS, "config schema", "logs", "events", "pull tiny")
STREAMS = ("events", "logs", "pull tiny")  # many documents, one after another
ELSEWHERE = {  # tested where they change something, or no data of theirs
    "bench", "completion", "cp", "down", "prune", "rm", "top", "up",
}  # fmt: skip


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A fleet of gpu-0 and gpu-1 that has the model tiny and has served a request."""
    cli = Cli(tmp_path_factory.mktemp("forms"))
    try:
        done = cli.run(*cli.up, "--wait", "--wait-timeout", "50s")
        assert done.code == 0, done.err
        assert cli.run("pull", "-q", "tiny").code == 0
        url = f"http://127.0.0.1:{cli.port}/api/generate"
        with urllib.request.urlopen(
            url, b'{"model": "tiny", "prompt": "hi"}', timeout=30
        ) as answer:
            assert answer.read()
        until(lambda: cli.run("explain", "last").code == 0, "a record of the request")
        yield cli
    finally:
        cli.end()


@pytest.fixture
def ran(fleet, monkeypatch, capfd):
    """Runs a command line in this process, which is quicker than one of its own."""
    for name, value in fleet.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FLEET_INSTANCE_PORTS", "auto")  # those of a plan; the others are taken
    monkeypatch.chdir(fleet.folder)

    def run(line, *form):
        code = command_line.run([*line.split(), *form])
        out, err = capfd.readouterr()
        wanted = ANSWERS.get(line, 0)
        assert wanted is None or code == wanted, err
        return Done(code, out, err)

    return run


@pytest.mark.parametrize("line", ANSWERS)
def test_a_document_is_the_same_as_json_and_as_yaml(ran, line):
    """Both are one document of the same keys with its version, and nothing else is on stdout."""
    as_json = json.loads(ran(line, "-o", "json").out)
    as_yaml = ran(line, "-o", "yaml").out
    if line.startswith("config show"):  # as YAML it is a fleet.yaml
        assert yaml.safe_load(as_yaml) == as_json["config"]
    else:
        assert yaml.safe_load(as_yaml).keys() == as_json.keys()
    assert as_json["schema_version"] == 1


@pytest.mark.parametrize("line", STREAMS)
def test_of_many_documents_each_is_whole(ran, line):
    """JSON has one on each line, YAML one behind each `---`; both carry the version."""
    as_json = [json.loads(each) for each in ran(line, "-o", "json").out.splitlines()]
    as_yaml = list(yaml.safe_load_all(ran(line, "-o", "yaml").out))
    for records in (as_json, as_yaml):
        assert records
        assert {record["schema_version"] for record in records} == {1}


@pytest.mark.parametrize("form", ["table", "wide"])
@pytest.mark.parametrize("line", [*ANSWERS, *STREAMS])
def test_people_get_text_without_colours_where_there_is_no_terminal(ran, line, form):
    out = ran(line, "-o", form).out
    assert out.strip()
    assert "\x1b" not in out


@pytest.mark.parametrize("line", SILENT)
def test_quiet_is_quiet(ran, line):
    """With -q the exit code tells how it went, and stdout is empty."""
    assert ran(line, "-q").out == ""


@pytest.mark.parametrize(
    ("variables", "line", "coloured"),
    [
        ({}, "status", False),
        ({"FORCE_COLOR": "1"}, "status", True),
        ({"FORCE_COLOR": "1"}, "--no-color status", False),
        ({"FORCE_COLOR": "1"}, "status --no-color", False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, "status", False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, "status", False),
        ({"FORCE_COLOR": "1"}, "status -o json", False),
    ],
)
def test_colours_are_for_terminals_and_for_who_forces_them(
    ran, monkeypatch, variables, line, coloured
):
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ("\x1b" in ran(line).out) is coloured


def test_no_command_is_forgotten():
    told = {line.split()[0] for line in (*ANSWERS, *STREAMS)}
    assert told | ELSEWHERE >= set(names())
    assert not told & ELSEWHERE
