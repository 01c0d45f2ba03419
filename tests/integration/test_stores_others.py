"""Stores of other users: what may not be read is said, what may not be written is locked still."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from made_store import blob_file, put_model

from ollama_fleet.control.stores.lock import StoreLock

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")

NOBODY = 65534
AS_NOBODY = f"""
import asyncio, concurrent.futures.thread, os, sys  # all that is needed, while it may be read
from pathlib import Path
from ollama_fleet.control.stores import read_store
from ollama_fleet.control.stores.lock import StoreLock
os.setgid({NOBODY}); os.setuid({NOBODY})
store = Path(sys.argv[1])
"""
READS = """
found = read_store(store)
print([model.name for model in found.models], sorted(found.unreadable), bool(found.blobs))
"""
LOCKS = """
async def main():
    async with StoreLock(store, Path(sys.argv[2])).held(alone=True):
        print("held", flush=True)
        sys.stdin.readline()

asyncio.run(main())
"""


@pytest.fixture
def folder():
    """A folder that everybody may enter; pytest's own are for its user alone."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def test_what_may_not_be_read_is_said_and_the_rest_is_read(folder):
    def read():
        command = [sys.executable, "-c", AS_NOBODY + READS, folder]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    put_model(folder, "mine/latest", b"weights")
    secret = put_model(folder, "secret/latest", b"secret")
    secret.chmod(0o600)
    assert read() == f"['mine:latest'] ['{secret}: Permission denied'] True"
    secret.parent.chmod(0o700)
    assert read() == f"['mine:latest'] ['{secret.parent}: Permission denied'] True"
    secret.parent.chmod(0o744)  # its names may be seen, and nothing else
    assert read() == f"['mine:latest'] ['{secret}: Permission denied'] True"
    (folder / "blobs").chmod(0o700)
    (folder / "manifests").chmod(0o700)
    assert read() == (
        f"[] ['{folder}/blobs: Permission denied', '{folder}/manifests: Permission denied'] False"
    )
    assert blob_file(folder, b"secret").exists()


@pytest.mark.parametrize("ours_is_first", [True, False])
def test_a_lock_of_anothers_store_is_the_same_for_who_may_only_read_it(folder, ours_is_first):
    lock = StoreLock(folder, folder)
    if ours_is_first:
        asyncio.run(lock.removals())

    async def run(process):
        waiting = asyncio.create_task(lock.removals())
        done, _ = await asyncio.wait([waiting], timeout=0.3 if ours_is_first else 30)
        assert bool(done) is not ours_is_first, "only what is there can be shared"
        process.stdin.close()
        async with asyncio.timeout(30):
            await waiting

    command = [sys.executable, "-c", AS_NOBODY + LOCKS, folder, "/nowhere"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        asyncio.run(run(process))
