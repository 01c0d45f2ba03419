"""Blobs that no model names are hashed before a pull that would take them for what they seem."""

import asyncio
import os
import threading

import pytest
from fleet_of_stores import state_over
from made_store import blob_file, put_blob, put_model

from ollama_fleet.control.library.jobs import Job
from ollama_fleet.control.library.trust import Trust
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.stores import unnamed


async def refresh(_store):
    pass


@pytest.fixture
def establish(tmp_path):
    """Establish trust in the store at tmp_path; what the pull was told."""
    trust = Trust(Mutations(state_over(str(tmp_path)), refresh))

    def run():
        told = []
        job = Job("m", "m", insecure=False)
        job.tell = lambda record: told.append(record["status"])
        asyncio.run(trust.establish(job, str(tmp_path)))
        return told

    return run


def test_what_is_wrong_goes_and_what_is_right_or_named_stays(tmp_path, establish):
    """Also a wrong blob that a model names stays: that model's owner is to know of it."""
    put_model(tmp_path, "m/latest", b"weights")
    put_blob(tmp_path, b"left by a pull")
    for content in (b"weights", b"wrong"):
        put_blob(tmp_path, content)
        blob_file(tmp_path, content).write_bytes(b"x" * len(content))
    assert establish()
    assert blob_file(tmp_path, b"left by a pull").exists()
    assert blob_file(tmp_path, b"weights").exists()
    assert not blob_file(tmp_path, b"wrong").exists()


def test_a_store_in_which_all_is_named_is_not_hashed(tmp_path, establish, monkeypatch):
    put_model(tmp_path, "m/latest", b"weights")
    monkeypatch.setattr(unnamed, "verify_blob", None)
    assert establish() == []


def test_it_is_hashed_on_the_threads_of_copies(tmp_path, establish, monkeypatch):
    """Those that all else shares would be kept waiting by a few large blobs."""
    names = []

    def verify(*_, **__):
        names.append(threading.current_thread().name)

    put_blob(tmp_path, b"left by a pull")
    monkeypatch.setattr(unnamed, "verify_blob", verify)
    establish()
    assert [name.partition("_")[0] for name in names] == ["transfer"]


def test_what_was_verified_is_hashed_again_only_if_it_has_changed(tmp_path, establish):
    put_blob(tmp_path, b"left by a pull")
    assert len(establish()) == 1
    assert establish() == []
    blob = blob_file(tmp_path, b"left by a pull")
    blob.write_bytes(b"another thing!")
    os.utime(blob, ns=(1, 1))
    assert len(establish()) == 1
    assert not blob.exists()
