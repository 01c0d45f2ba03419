"""What a client of /api/pull is told of what comes after the download."""

import asyncio

from ollama_fleet.api.pulling import as_ollama

LAYER = {"status": "pulling abc", "digest": "sha256:abc", "total": 10, "completed": 10}


def told(*records):
    async def source():
        for record in records:
            yield record

    async def run():
        return [record async for record in as_ollama(source())]

    return asyncio.run(run())


def test_the_records_of_the_download_pass_as_they_are():
    assert told(LAYER, {"status": "success"}) == [LAYER, {"status": "success"}]


def test_a_bar_for_a_target_is_words_for_a_client_said_once():
    """A second bar of the same digest would have the client's first one run back."""
    copies = [
        {"status": "copying to gpu1", "target": "gpu1", "digest": "sha256:abc", "completed": n}
        for n in range(3)
    ]
    assert told(LAYER, *copies, {"status": "gpu1 has it", "target": "gpu1"}) == [
        LAYER,
        {"status": "copying to gpu1"},
        {"status": "gpu1 has it"},
    ]
