"""What a fleet has learned survives its restart; what cannot be read costs only itself."""

import asyncio
import time
from pathlib import Path

import pytest

from ollama_fleet.estimate import Observation
from ollama_fleet.fleet.learning import Learned
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.state import Completed, State, Work


def observation():
    return Observation(
        instance="a",
        weights="w",
        key="m",
        prompt_tokens=100,
        output_tokens=50,
        prefill_s=0.5,
        decode_s=5.0,
        busy=1.0,
    )


async def learned(path: Path, *answers):
    async with Learned(State(Placement(())), path, clock=time.monotonic) as fleet:
        for answer in answers:
            fleet.estimates.learn(answer)
        return fleet.estimates.speed("a", "w")


def test_speeds_are_the_same_after_a_restart(tmp_path):
    path = tmp_path / "learned.json"
    before = asyncio.run(learned(path, *(observation() for _ in range(10))))
    assert asyncio.run(learned(path)) == pytest.approx(before)
    assert asyncio.run(learned(tmp_path / "other.json")) != pytest.approx(before)
    assert [found.name for found in tmp_path.glob("learned*")] == ["learned.json"]


def test_an_answer_that_ended_in_the_last_moment_is_learned_from(tmp_path):
    """A fleet that stops has learned from all its answers, and saved it."""

    async def last_moment():
        spec = InstanceSpec("a", "g", "127.0.0.1", 1, 4, "/models")
        state = State(Placement((spec,)))
        async with Learned(state, path, clock=time.monotonic) as fleet:
            lease = state.lease(state.instances["a"], "w")
            state.began(lease, Work(), time.monotonic())
            state.outcome(lease, Completed(200, 100, 50, prefill_s=0.5, decode_s=5.0))
            nothing = fleet.estimates.speed("a", "w")
        return nothing, fleet.estimates.speed("a", "w")

    path = tmp_path / "learned.json"
    nothing, something = asyncio.run(last_moment())
    assert nothing != pytest.approx(something)
    assert asyncio.run(learned(path)) == pytest.approx(something)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"speeds": [1, "x"]}', "\ud800"])
def test_a_file_that_is_not_what_was_saved_is_as_good_as_none(tmp_path, text):
    path = tmp_path / "learned.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    found = asyncio.run(learned(path))
    assert found == asyncio.run(learned(tmp_path / "none.json"))


def test_a_place_that_cannot_be_written_to_stops_no_fleet(tmp_path):
    asyncio.run(learned(tmp_path / "missing" / "learned.json", observation()))
    assert not (tmp_path / "missing").exists()
