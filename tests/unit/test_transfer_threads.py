"""The threads on which models are copied and hashed."""

import asyncio
import os
import threading

from ollama_fleet.control.library.threaded import threaded


def priorities():
    """Of this thread and of one that it starts, as a copy does: more is less urgent."""
    found = []

    def look():
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    look()
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found


def test_copies_give_way_to_requests():
    ours, _ = priorities()
    theirs = asyncio.run(threaded(lambda _stopped: priorities()))
    assert min(theirs) == min(ours + 10, 19)
    assert priorities() == [ours, ours]
