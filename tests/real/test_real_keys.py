"""The `ollama` command line, which can send no key: with one in its OLLAMA_HOST it needs none."""

import os
import subprocess

import pytest
from fleet_process import FleetProcess

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

MODEL = "llama3.1:8b"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A simulated fleet that lets nobody in without a key."""
    made = FleetProcess(
        tmp_path_factory.mktemp("keys"),
        OLLAMA_SIM_TIME_SCALE="50",
        FLEET_AUTH__REQUIRED="true",
        FLEET_AUTH__CREATE="",
    )
    made.root = made.run("keys", "add", "root", "--role", "admin").stdout.strip()
    made.ann = made.run("keys", "add", "ann", "--model", MODEL).stdout.strip()
    made.run("up", "-d", "--wait", "--simulate", "4-mixed")
    yield made
    made.run("down")


@pytest.fixture
def client(ollama, fleet):
    """Runs the command line with a key, or without."""

    def run(*arguments, key=""):
        return subprocess.run(
            [ollama, *arguments],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(fleet.folder),
                "OLLAMA_HOST": fleet.base + (f"/k/{key}" if key else ""),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_it_lists_and_runs_the_models_of_its_key(fleet, client):
    listed = client("list", key=fleet.ann).stdout
    assert [line.split()[0] for line in listed.splitlines()[1:]] == [MODEL]
    said = client("run", MODEL, "hello", key=fleet.ann)
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip()
    assert client("ps", key=fleet.ann).stdout.splitlines()[1].startswith(MODEL)
    assert client("show", "qwen3:8b", key=fleet.ann).returncode != 0
    assert client("show", "qwen3:8b", key=fleet.root).returncode == 0


def test_what_is_not_for_it_is_refused_in_words(fleet, client, tmp_path):
    modelfile = tmp_path / "Modelfile"
    modelfile.write_text(f"FROM {MODEL}\nSYSTEM Arr.\n")
    for key, arguments, told in (
        ("", ("list",), "a key is needed"),
        (fleet.ann, ("rm", MODEL), "this is for admins"),
        (fleet.ann, ("pull", MODEL), "this is for admins"),
        (fleet.ann, ("cp", MODEL, "mine"), "this is for admins"),
        (fleet.root, ("create", "pirate", "-f", str(modelfile)), "`auth.create: true`"),
    ):
        refused = client(*arguments, key=key)
        assert refused.returncode != 0, arguments
        assert told in refused.stderr, arguments
    assert client("pull", MODEL, key=fleet.root).returncode == 0
