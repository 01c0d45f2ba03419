"""The disks under the stores: what they answer, and what becomes of a scrape if one does not."""

import asyncio
import threading

from ollama_fleet.api.disks import Disks
from ollama_fleet.metrics import Disk

ROOM = (Disk("/models", free_bytes=1, size_bytes=2),)


def test_a_store_has_the_room_of_its_disk_and_one_that_is_not_there_has_none(tmp_path):
    found = asyncio.run(Disks([tmp_path, tmp_path / "none"]).read())
    assert [disk.path for disk in found] == [str(tmp_path)]
    assert 0 <= found[0].free_bytes <= found[0].size_bytes


def test_a_disk_that_hangs_costs_its_own_figures_and_one_thread():
    """However often it is asked meanwhile; when it answers again, that is heard."""
    asked, back = [], threading.Event()

    def ask(_folders):
        asked.append(None)
        assert back.wait(20)
        return ROOM

    async def check():
        disks = Disks([], ask=ask, patience_s=0.01)
        silent = [await disks.read() for _ in range(5)]
        threads = len(asked)
        back.set()
        async with asyncio.timeout(20):
            while not (found := await disks.read()):
                pass
        return silent, threads, found

    silent, threads, found = asyncio.run(check())
    assert silent == [()] * 5
    assert threads == 1
    assert found == ROOM
