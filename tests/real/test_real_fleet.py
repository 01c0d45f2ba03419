"""A fleet of real Ollama processes on the CPU, from its command line and its port."""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import urllib.error

import aiohttp
import psutil
import pytest
import tiny_gguf
from fleet_process import FleetProcess, ask, call, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]  # real weights, on a CPU that others use


class Fleet(FleetProcess):
    """A fleet of real processes on the box's store."""

    def __init__(self, box, folder, config):
        super().__init__(
            folder,
            config=f"ollama: {{ binary: {box.ollama}, models: {box.store} }}\n{config}",
            HOME=str(box.home),
        )
        self.box = box

    def mark(self, name):
        """What an instance's environment holds, and no other fleet's on this machine."""
        return f"{self.folder}-{name}"

    def ollama(self, *arguments):
        return subprocess.run(
            [self.box.ollama, *arguments],
            env={**self.environment, "OLLAMA_HOST": self.address},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout


TWO = """
groups:
  - { name: a, gpus: [], num_parallel: 2, env: { FLEET_TEST_MARK: MARK-one } }
  - { name: b, gpus: [], num_parallel: 4, context_length: 2048, env: { FLEET_TEST_MARK: MARK-two } }
supervision: { backoff_first: 200ms }
"""


@pytest.fixture
def fleet(box, tmp_path):
    made = Fleet(box, tmp_path, TWO.replace("MARK-", f"{tmp_path}-"))
    made.run("up", "-d", "--wait")
    yield made
    made.run("down", check=False)


def processes_of(fleet):
    """The living processes of this very fleet: its servers, and the runners they started."""
    marks = {fleet.mark("one"), fleet.mark("two")}
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("FLEET_TEST_MARK") in marks and process.status() != "zombie":
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def is_server(process):
    try:
        return "serve" in process.cmdline()
    except psutil.Error:
        return False


def test_each_instance_has_an_environment_of_its_own(fleet):
    marks = {}
    for name, instance in fleet.instances().items():
        environment = psutil.Process(instance["pid"]).environ()
        marks[name] = environment["FLEET_TEST_MARK"], environment["OLLAMA_NUM_PARALLEL"]
        assert environment["CUDA_VISIBLE_DEVICES"] in ("", "-1")
        assert environment["OLLAMA_NOPRUNE"] == "1"
    assert marks == {"a": (fleet.mark("one"), "2"), "b": (fleet.mark("two"), "4")}


def test_the_ollama_command_line_works_at_the_router(fleet):
    listed = fleet.ollama("list")
    assert {"tiny:latest", "slow:latest", "tiny-embed:latest"} <= set(listed.split())
    assert fleet.ollama("run", "tiny", "hello").strip()
    assert "tiny:latest" in until(lambda: fleet.ollama("ps"), what="ollama ps")
    assert "llama" in fleet.ollama("show", "tiny")
    fleet.ollama("stop", "tiny")
    until(lambda: "tiny" not in fleet.ollama("ps"), what="its end")


def test_a_model_is_made_copied_used_and_removed_by_the_ollama_command_line(fleet, tmp_path):
    """Each command sees at once what the one before it has done, on whichever instance."""
    weights = tmp_path / "made.gguf"
    tiny_gguf.write(weights, tiny_gguf.Shape(), seed=77)
    recipe = tmp_path / "Modelfile"
    template = "{{- range .Messages }}[{{ .Role }}] {{ .Content }}{{ end }}"
    recipe.write_text(f"FROM {weights}\nPARAMETER num_predict 8\nTEMPLATE {template}\n")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()

    fleet.ollama("create", "made", "-f", str(recipe))
    assert (fleet.box.store / "blobs" / f"sha256-{digest}").exists()
    assert "made:latest" in fleet.ollama("list")
    assert "num_predict" in fleet.ollama("show", "made")
    fleet.ollama("create", "made", "-f", str(recipe))  # its blob is there: nothing is sent again

    fleet.ollama("cp", "made", "Copied:1")
    assert {"made:latest", "Copied:1"} <= set(fleet.ollama("list").split())
    assert fleet.ollama("run", "copied:1", "hello").strip()
    until(lambda: "opied:1" in fleet.ollama("ps"), what="the copy in memory")
    fleet.ollama("stop", "copied:1")
    until(lambda: "opied:1" not in fleet.ollama("ps"), what="its end")

    with pytest.raises(subprocess.CalledProcessError) as refused:
        fleet.ollama("push", "made")
    assert "registry.ollama.ai" in refused.value.stderr

    assert "deleted" in fleet.ollama("rm", "made", "copied:1")
    left = fleet.ollama("list")
    assert "made" not in left
    assert "opied" not in left
    with pytest.raises(subprocess.CalledProcessError) as refused:
        fleet.ollama("rm", "made")
    assert "not found" in refused.value.stderr


def test_answers_stream_in_every_dialect(fleet):
    message = [{"role": "user", "content": "hello"}]
    body = {"model": "tiny", "messages": message, "options": {"num_predict": 5}, "stream": False}
    assert call(f"{fleet.base}/api/chat", body)["done"]
    answer = call(
        f"{fleet.base}/v1/chat/completions", {"model": "tiny", "messages": message, "max_tokens": 5}
    )
    assert answer["usage"]["completion_tokens"] <= 5
    embedded = call(f"{fleet.base}/api/embed", {"model": "tiny-embed", "input": ["a", "b"]})
    assert len(embedded["embeddings"]) == 2

    async def stream(path, end):
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                fleet.base + path, json={"model": "tiny", "messages": message, "stream": True}
            ) as got,
        ):
            assert got.status == 200
            text = await got.text()
            assert end in text
            assert got.headers["X-Fleet-Instance"] in ("a", "b")

    asyncio.run(stream("/api/chat", '"done":true'))
    asyncio.run(stream("/v1/chat/completions", "data: [DONE]"))


def test_an_unknown_model_is_answered_in_ollamas_words(fleet):
    with pytest.raises(urllib.error.HTTPError) as refused:
        call(f"{fleet.base}/api/chat", {"model": "nope", "messages": []})
    assert refused.value.code == 404
    assert json.loads(refused.value.read()) == {"error": "model 'nope' not found"}


def test_a_killed_instance_costs_no_request_that_had_no_byte_and_is_back_within_5_s(fleet):
    async def scenario():
        async with aiohttp.ClientSession() as session:
            tasks = [
                asyncio.create_task(ask(session, fleet.base, "slow", tokens=48)) for _ in range(50)
            ]
            await asyncio.sleep(1.5)
            victim = (await asyncio.to_thread(fleet.instances))["b"]
            assert victim["in_flight"] > 0
            os.kill(victim["pid"], signal.SIGKILL)
            killed = asyncio.get_running_loop().time()
            while True:
                now = (await asyncio.to_thread(fleet.instances))["b"]
                if now["phase"] == "ready" and now["pid"] != victim["pid"]:
                    back_s = asyncio.get_running_loop().time() - killed
                    break
                await asyncio.sleep(0.05)
            results = await asyncio.gather(*tasks)
        return results, back_s, victim["in_flight"]

    results, back_s, in_flight = asyncio.run(scenario())
    assert len(results) == 50
    kinds = [kind for kind, _ in results]
    assert kinds.count("whole") + kinds.count("broken") == 50, results
    assert kinds.count("broken") <= in_flight
    assert all("lost in the middle" in text for kind, text in results if kind == "broken")
    assert back_s < 5


def test_after_a_killed_supervisor_nothing_is_left_once_the_fleet_is_up_again(fleet):
    call(f"{fleet.base}/api/generate", {"model": "slow", "prompt": "x", "stream": False})
    before = {p.pid for p in processes_of(fleet)}
    assert len(before) >= 3, "two servers and a runner"
    os.kill(fleet.pid(), signal.SIGKILL)
    until(lambda: not any(map(is_server, processes_of(fleet))), what="the servers' end")
    fleet.run("up", "-d", "--wait")
    after = {p.pid for p in processes_of(fleet)}
    assert not before & after, "runners of the killed fleet are still there"
    assert {i["phase"] for i in fleet.instances().values()} == {"ready"}


def test_down_leaves_nothing(fleet):
    call(f"{fleet.base}/api/generate", {"model": "tiny", "prompt": "x", "stream": False})
    fleet.run("down")
    assert not processes_of(fleet)
    assert fleet.run("status", check=False).returncode == 69


def test_a_bad_file_is_refused_with_every_position(box, tmp_path):
    made = Fleet(box, tmp_path, "grups: []\nqueue: { limit: many }\n")
    done = made.run("up", "-d", check=False)
    assert done.returncode == 78
    assert "fleet.yaml:3:1: grups: unknown key" in done.stderr
    assert "fleet.yaml:4:17: queue.limit" in done.stderr
