"""What a fleet has learned survives its restart; what cannot be read costs only itself."""

import asyncio
import time
from pathlib import Path

import pytest

from ollama_fleet.estimate import Observation
from ollama_fleet.fleet.learning import Learned
from ollama_fleet.placement import Placement
from ollama_fleet.state import State


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


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"speeds": [1, "x"]}', "\ud800"])
def test_a_file_that_is_not_what_was_saved_is_as_good_as_none(tmp_path, text):
    path = tmp_path / "learned.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    found = asyncio.run(learned(path))
    assert found == asyncio.run(learned(tmp_path / "none.json"))


def test_a_place_that_cannot_be_written_to_stops_no_fleet(tmp_path):
    asyncio.run(learned(tmp_path / "missing" / "learned.json", observation()))
    assert not (tmp_path / "missing").exists()
