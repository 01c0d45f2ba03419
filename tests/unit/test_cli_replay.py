"""`fleet replay`: the requests that were asked for, on the fleet that was asked for."""

import json
import time

import pytest
from made_records import made

from ollama_fleet.cli import run
from ollama_fleet.errors import Exit
from ollama_fleet.history import Bounds, History


def replayed(capsys, *arguments):
    assert run(["replay", "-o", "json", *arguments]) == Exit.OK
    return json.loads(capsys.readouterr().out)["replays"]


def test_made_up_requests_are_served_by_each_strategy(capsys):
    made_up = ("--requests", "120", "--strategy", "round_robin", "--strategy", "adaptive")
    first, second = replayed(capsys, *made_up, "--load", "0.3")
    assert (first["strategy"], second["strategy"]) == ("round_robin", "adaptive")
    assert first["requests"] == second["requests"] == 120
    assert first["mean_s"] > second["mean_s"] > 0
    assert first["instances"] == ["gpu-0", "gpu-1", "gpu-2", "gpu-3"]


def test_one_more_gpu_is_compared_with_what_is_there(capsys):
    options = ("--requests", "120", "--load", "0.9", "--strategy", "least_conn")
    now, then = replayed(capsys, *options, "--add-gpu", "gpu-0")
    assert then["instances"] == [*now["instances"], "gpu-0-2"]
    assert then["mean_s"] < now["mean_s"]
    assert then["shares"]["gpu-0-2"] > 0


def test_a_trace_is_replayed_at_its_own_rate_or_another(capsys, tmp_path):
    path = tmp_path / "trace.csv"
    rows = "".join(f"{at},100,50\n" for at in range(60))
    path.write_text("time,prompt_tokens,output_tokens\n" + rows)
    options = ("--trace", str(path), "--strategy", "least_conn")
    (own,) = replayed(capsys, *options)
    (faster,) = replayed(capsys, *options, "--rate", "20")
    assert own["requests"] == faster["requests"] == 60
    assert faster["tokens_per_s"] > own["tokens_per_s"]


def test_the_history_is_replayed_on_the_fleet_that_made_it(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FLEET_STATE_DIR", str(tmp_path))
    history = History(
        tmp_path / "history.db", Bounds(100, 2**20, 1e9), clock=time.monotonic, wall=time.time
    )
    for number in range(30):
        history.add(made(id=str(number), arrived_s=time.time() + 20.0 * number))
    history.close()
    (result,) = replayed(capsys, "--from-history", "--strategy", "least_conn")
    assert (result["instances"], result["requests"]) == (["gpu0"], 30)
    served_s = 0.25 + 4.0  # prefill and decode, as the records have them
    assert result["mean_s"] == pytest.approx(served_s, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--strategy", "best"), "there is no strategy best"),
        (("--layout", "nowhere"), "there is no profile 'nowhere'"),
        (("--add-gpu", "gpu-9"), "there is no instance gpu-9"),
        (("--model", "other"), "4-mixed has no model other"),
        (("--from-history",), "no request has been recorded yet"),
    ],
)
def test_what_is_not_there_is_told(arguments, reason, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FLEET_STATE_DIR", str(tmp_path))
    assert run(["replay", "--requests", "5", *arguments]) == Exit.FAILED
    assert reason in capsys.readouterr().err


def test_the_history_and_a_trace_are_not_replayed_at_once(capsys, tmp_path):
    path = tmp_path / "trace.csv"
    path.touch()
    assert run(["replay", "--from-history", "--trace", str(path)]) == Exit.USAGE
    assert "two different sets" in capsys.readouterr().err


def test_a_table_has_a_row_for_each_replay_and_wide_the_shares(capsys):
    arguments = ["replay", "--requests", "30", "--strategy", "least_conn"]
    assert run([*arguments, "-o", "wide"]) == Exit.OK
    out = capsys.readouterr().out.splitlines()
    assert out[0].split()[:2] == ["INSTANCES", "STRATEGY"]
    assert out[1].split()[:3] == ["4", "least_conn", "30"]
    assert out[2].startswith("4 instances, least_conn: gpu-0 ")
