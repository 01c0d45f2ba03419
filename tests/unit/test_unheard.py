"""Faults that nobody takes are logged, and nothing that they may quote."""

import asyncio
import json
import logging

from ollama_fleet.fleet.process import new_loop
from ollama_fleet.log import JsonLines, logging_to

SECRET = "sk-canary"


class Kept:
    """An outlet that keeps what it is given."""

    data = b""

    def write(self, data):
        self.data += data
        return len(data)


async def _fail():
    raise ValueError(SECRET)


async def _leave_faults():
    """A task, a future and a callback whose exceptions nobody asks for."""
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(_fail(), name="a task")
    await asyncio.wait([task])
    future = loop.create_future()
    future.set_exception(KeyError(SECRET))
    loop.call_soon(json.loads, f"[{SECRET}")
    await asyncio.sleep(0)


def test_a_fault_that_nobody_takes_is_told_without_its_words():
    """Asyncio's own text of it would quote them. Its kind, its trace and the task's name stay."""
    out = Kept()
    with (
        logging_to(out, level=logging.INFO, lines=JsonLines()),
        asyncio.Runner(loop_factory=new_loop) as runner,
    ):
        runner.run(_leave_faults())
    told = [json.loads(line) for line in out.data.splitlines()]
    assert SECRET.encode() not in out.data
    assert sorted(line["exception"].splitlines()[-1] for line in told) == [
        "KeyError",
        "ValueError",
        "json.decoder.JSONDecodeError",
    ]
    assert [line["task"] for line in told if "task" in line] == ["a task"]
