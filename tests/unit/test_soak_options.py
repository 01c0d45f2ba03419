"""The command line of the long runs: one style, and mistakes are named."""

import pytest

from ollama_fleet.bench import soak


@pytest.mark.parametrize("name", [*soak.OF_FLEETS, "restarts", "cancel", "smuggling", "flood"])
def test_every_run_prints_a_table_or_json(name):
    assert soak.arguments().parse_args([name]).output == "table"
    assert soak.arguments().parse_args([name, "-o", "json"]).output == "json"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["chaos", "--faults", "stop,flames"], "no flames among kill_server,"),
        (["faults", "--rows", "F1,F99"], "no F99 among F1,"),
        (["changes", "--rows", ""], "among upgrade,"),
    ],
)
def test_a_name_that_is_none_is_told_with_those_that_are(line, said, capsys):
    with pytest.raises(SystemExit):
        soak.arguments().parse_args(line)
    assert said in capsys.readouterr().err


def test_some_faults_are_those_that_strike():
    options = soak.arguments().parse_args(["chaos", "--faults", "stop,lies"])
    assert options.faults == ("stop", "lies")
