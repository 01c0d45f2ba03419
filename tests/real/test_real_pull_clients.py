"""Clients that know nothing of fleets, on a fleet of several stores: Ollama's CLI and library."""

import os
import pty
import re
import subprocess
import termios

import ollama
import pytest
from fleet_of_ollamas import OllamaFleet

from ollama_fleet.control.stores import read_store

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]  # real weights, on a CPU that others use

TWO_STORES = """
groups:
  - { name: a, gpus: [], store: FOLDER/a }
  - { name: b, gpus: [], store: FOLDER/b }
"""
BOTH = {"a": "on_disk", "b": "on_disk"}
MODEL, SIZE_BYTES, LINK_BYTES_PER_S = "library/made:1b", 12_000_000, 12_000_000


@pytest.fixture(scope="module")
def fleet(box, tmp_path_factory):
    """A fleet of two stores, for all of these tests."""
    made = OllamaFleet(box, tmp_path_factory.mktemp("fleet"), TWO_STORES)
    made.run("up", "-d", "--wait")
    yield made
    made.run("down", "--now", check=False)


def on_a_terminal(fleet, *arguments):
    """Run the `ollama` command line as a person does: its exit status, and what it drew."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 100))
    command = [fleet.box.ollama, *arguments]
    with subprocess.Popen(
        command, env=fleet.as_client(), stdin=follower, stdout=follower, stderr=follower
    ) as process:
        os.close(follower)
        drawn = bytearray()
        try:
            while piece := os.read(leader, 65536):
                drawn += piece
        except OSError:  # its end, as Linux says it of a terminal
            pass
        finally:
            os.close(leader)
    return process.returncode, drawn.decode()


def test_ollama_pull_draws_its_bars_to_the_end(shelf, fleet):
    """A bar for each layer, with the layer's size; it ends when every store has the model."""
    made = shelf.make(MODEL, SIZE_BYTES)
    shelf.set(bytes_per_s=LINK_BYTES_PER_S)
    status, drawn = on_a_terminal(fleet, "pull", "--insecure", shelf.name(MODEL))
    assert status == 0, drawn
    weights = made["manifest"]["layers"][0]["digest"].removeprefix("sha256:")[:12]
    shares = [int(found) for found in re.findall(rf"pulling {weights}:\s+(\d+)%", drawn)]
    assert shares == sorted(shares)
    assert shares[-1] == 100
    assert len(set(shares)) > 3, "drawn while it grew"
    assert "12 MB" in drawn
    assert "success" in drawn.rstrip().splitlines()[-1]
    assert fleet.holders(shelf.host) == {made["digest"]: BOTH}


def test_the_ollama_command_line_works_on_all_stores(bare, shelf, fleet):
    """Each sees one server with one list, whatever lies where."""
    model = read_store(bare).model("registry.ollama.ai/library/tiny:latest")
    name = f"{shelf.host}/library/tiny:latest"
    fleet.ollama("pull", "--insecure", shelf.name("library/tiny"))
    fleet.ollama("cp", name, "mine")
    assert fleet.holders("mine:") == {model.digest: BOTH}
    assert {name, "mine:latest"} <= set(fleet.ollama("list").stdout.split())
    assert "llama" in fleet.ollama("show", "mine").stdout
    recipe = fleet.folder / "Modelfile"
    recipe.write_text("FROM mine\nPARAMETER num_predict 7\n")
    fleet.ollama("create", "brief", "-f", str(recipe))
    assert "num_predict" in fleet.ollama("show", "brief").stdout
    fleet.run("sync", "brief")
    (places,) = fleet.holders("brief:").values()
    assert places == BOTH
    pushed = f"{shelf.host}/library/brief"
    fleet.ollama("cp", "brief", pushed)
    fleet.ollama("push", "--insecure", f"http://{pushed}")
    assert shelf.counts()["PUT /v2/library/brief/manifests/latest"]["requests"] == 1
    fleet.ollama("rm", pushed, "brief")
    fleet.run("pull", "--insecure", f"http://{pushed}", "-q")
    assert "num_predict" in fleet.ollama("show", pushed).stdout
    fleet.ollama("rm", "mine", pushed)
    assert fleet.holders("mine:") == fleet.holders("brief:") == {}
    assert fleet.holders(shelf.host) == {model.digest: BOTH}


def test_the_ollama_library_reads_a_pulls_progress(shelf, fleet):
    """Every record parses; the totals are sizes of layers, and success is the last."""
    made = shelf.make(MODEL, SIZE_BYTES)
    sizes = {layer["size"] for layer in made["manifest"]["layers"]}
    with ollama.Client(host=fleet.base) as client:
        told = list(client.pull(shelf.name(MODEL), insecure=True, stream=True))
        assert all(isinstance(each, ollama.ProgressResponse) for each in told)
        assert told[-1].status == "success"
        assert sizes <= {each.total for each in told if each.digest}
        assert all((each.completed or 0) <= each.total for each in told if each.total)
        assert made["digest"] in [model.digest for model in client.list().models]
