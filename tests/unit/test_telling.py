"""What a fleet is told by signals."""

import asyncio
import io
import os
import signal

from ollama_fleet.fleet.telling import Told


def test_a_hangup_while_the_fleet_starts_reloads_once_it_can_and_ends_nothing(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())  # no terminal

    async def scenario():
        told, reloads = Told(), []
        told.hold_on()
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(told._hung_up.wait(), 20)
        told.listen(reload=lambda: reloads.append("reload"))
        assert reloads == ["reload"]

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    asyncio.run(scenario())
    assert {number: signal.getsignal(number) for number in before} == before
