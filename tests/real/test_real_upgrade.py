"""A new binary in the place of a real Ollama's, under load."""

import asyncio
import shutil

from fleet_process import call, until

from ollama_fleet.bench.faults.clients import End, crowd
from ollama_fleet.bench.faults.fleet import MODEL

STREAMS = 200


def test_a_rolling_restart_to_another_binary_costs_no_request(fleet_of, box, tmp_path):
    """Each instance has its model in memory again before it takes requests."""
    binary = tmp_path / "bin" / "ollama"
    binary.parent.mkdir()
    shutil.copy2(box.ollama, binary)
    store = tmp_path / "models"
    shutil.copytree(box.store, store)
    fleet = fleet_of(
        f"""
groups:
  - {{ name: a, gpus: [], store: {store}, num_parallel: 4 }}
  - {{ name: b, gpus: [], store: {store}, num_parallel: 4 }}
""",
        binary=binary,
    )
    call(f"{fleet.base}/api/copy", {"source": "tiny", "destination": MODEL})
    fleet.run("load", MODEL)
    seen = asyncio.run(_upgrade(fleet, box, binary))
    assert len(seen) > STREAMS
    assert [each.end for each in seen if each.end is not End.WHOLE] == []
    after = fleet.instances()
    assert {i["starts"] for i in after.values()} == {2}
    assert not any(i["outdated"] for i in after.values())
    assert all(MODEL in {row["name"] for row in i["resident"]} for i in after.values())


async def _upgrade(fleet, box, binary):
    """Replace the file while clients stream, restart, and tell what the clients saw."""
    async with crowd(fleet.base, STREAMS, warm_s=2.0) as load:
        fresh = binary.with_name("ollama.new")
        shutil.copy2(box.ollama, fresh)
        fresh.rename(binary)

        def restarted():
            until(
                lambda: all(i["outdated"] for i in fleet.instances().values()),
                what="the news of the new binary",
            )
            fleet.run("restart", timeout=120)

        await asyncio.to_thread(restarted)
    return load.seen
