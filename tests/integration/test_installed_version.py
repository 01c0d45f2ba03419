"""The version of the Ollama that is installed: asked of it where it decides what is planned."""

import os
from types import SimpleNamespace

import pytest
from made_store import put_model
from tiny_gguf import Shape, write

from ollama_fleet.config import load
from ollama_fleet.control.program import installed_version
from ollama_fleet.directories import Directories
from ollama_fleet.fleet import fits_of, prepare
from ollama_fleet.names import canonical
from ollama_fleet.vram.use import LLAMA_SERVER_FROM


@pytest.fixture
def program(tmp_path):
    """Makes a program called ollama, in a folder of its own, that does what a shell is told."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(script):
        path = folder / "ollama"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        environ = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
        return SimpleNamespace(path=str(path), environ=environ)

    return make


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ('echo "ollama version is 0.32.15"', (0, 32)),
        ('echo "Warning: client version is 0.20.0" >&2', (0, 20)),
        ('echo "ollama version is 0.0.0"', None),
        ("echo usage; exit 2", None),
        ("exit 1", None),
    ],
)
def test_a_program_tells_its_version_or_it_is_not_known(program, script, version):
    made = program(script)
    assert installed_version(made.path, made.environ) == version


def test_who_does_not_answer_or_is_not_there_is_of_unknown_version(program, tmp_path):
    made = program("exec sleep 1000")
    assert installed_version(made.path, made.environ, timeout_s=0.2) is None
    assert installed_version(str(tmp_path / "nobody"), made.environ) is None


def test_no_server_is_asked(program):
    """It may hang, or be this fleet itself."""
    made = program('echo "ollama version is 0.$(echo $OLLAMA_HOST | cut -d: -f2).0"')
    assert installed_version(made.path, {**made.environ, "OLLAMA_HOST": "x:7"}) == (0, 1)


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize(("said", "version"), [("0.20.0", (0, 20)), ("nothing", LLAMA_SERVER_FROM)])
def test_plans_reckon_with_the_engine_that_is_installed(program, tmp_path, said, version, pinned):
    made = program(f'echo "ollama version is {said}"')
    write(tmp_path / "tiny.gguf", Shape(), seed=1)
    put_model(tmp_path / "models", "tiny/latest", (tmp_path / "tiny.gguf").read_bytes())
    text = f"groups: [{{ name: a, gpus: [], models: [{'tiny' if pinned else ''}] }}]\n"
    (tmp_path / "fleet.yaml").write_text(f"ollama: {{ models: ./models }}\n{text}")
    environ = {**made.environ, "FLEET_STATE_DIR": str(tmp_path / "state")}
    directories = Directories.find(environ)
    directories.create()
    loaded = load(None, environ=environ, cwd=tmp_path, overrides={})
    plan = prepare(loaded, directories=directories, environ=environ)
    assert (canonical("tiny") in plan.models.shapes) == pinned
    assert plan.models.version == (version if pinned else LLAMA_SERVER_FROM)
    (found,) = fits_of(plan, ["tiny"], environ=environ, offline=True)
    assert {fit.claim.need.use.version for fit in found.fits} == {version}
