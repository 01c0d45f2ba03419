"""The doctor looks at a real machine: programs that answer or hang, ports, stores, processes."""

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import pytest
from fleet_process import until
from made_store import blob_file, put_model

from ollama_fleet.config import Config
from ollama_fleet.control.orphans import RunRecord, write_record
from ollama_fleet.control.processes import boot_id, find_process
from ollama_fleet.control.service import find_services
from ollama_fleet.doctor import Status, checks, gather
from ollama_fleet.doctor.gather.found import nvidia_cards
from ollama_fleet.gpu import Gpu, Inventory, Vendor

SERVER = f"""\
#!{sys.executable}
import http.server, json, os, sys

class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({{"version": "0.20.1"}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
print(server.server_port, flush=True)
server.serve_forever()
"""


class Gpus:
    """Lists the cards it was given."""

    def __init__(self, *cards):
        self.cards = cards

    async def inventory(self, timeout_s):
        assert timeout_s > 0
        return Inventory(self.cards, () if self.cards else ("no driver",))


def program(path, text):
    path.write_text(dedent(text))
    path.chmod(0o755)
    return path


@contextmanager
def ended(*argv, **options):
    """A process that is killed, with all of its group, when the test is done with it."""
    process = subprocess.Popen(argv, start_new_session=True, text=True, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


@pytest.fixture
def look(tmp_path):
    """Gather the facts for a configuration, in a folder of its own."""

    def facts(gpus=None, fleet_pid=0, timeout_s=20.0, **config):
        config = {"listen": "127.0.0.1:0", "ollama": {"models": str(tmp_path / "models")}} | config
        return asyncio.run(
            gather(
                Config.model_validate(config),
                gpus=gpus or Gpus(),
                runs=tmp_path / "runs",
                environ=dict(os.environ),
                fleet_pid=fleet_pid,
                timeout_s=timeout_s,
            )
        )

    return facts


def by_name(facts):
    return {check.name: check for check in checks(facts)}


def ollama(path):
    return {"ollama": {"binary": str(path)}}


def test_a_binary_that_answers_is_taken_at_its_word(look, tmp_path):
    path = program(tmp_path / "mine", "#!/bin/sh\necho ollama version is 0.16.0\n")
    facts = look(**ollama(path))
    assert (facts.binary.path, facts.binary.version) == (str(path), "0.16.0")
    assert "CVE-2026-7482" in by_name(facts)["ollama"].detail


def test_a_binary_that_hangs_is_killed_with_all_it_started(look, tmp_path):
    """Also a child of it that keeps its output open, which would hold up whoever reads that."""
    path = program(tmp_path / "slow", f"#!/bin/sh\nsleep 60 &\necho $! > {tmp_path}/pid\nwait\n")
    for timeout_s in (1.0, 5.0, 20.0):  # on a busy machine it may not have begun within the first
        facts = look(timeout_s=timeout_s, **ollama(path))
        assert f"does not answer within {timeout_s:g} s" in facts.binary.trouble
        if (tmp_path / "pid").exists():
            break
    pid = int((tmp_path / "pid").read_text())
    until(lambda: (child := find_process(pid)) is None or not child.alive, what="its child's end")
    assert by_name(facts)["ollama"].status is Status.WARN


@pytest.mark.parametrize(
    ("text", "words"),
    [("#!/bin/sh\necho hello\n", "hello"), ("#!/no/such/shell\n", "cannot be run")],
)
def test_a_binary_that_is_none_says_so(look, tmp_path, text, words):
    assert words in look(**ollama(program(tmp_path / "odd", text))).binary.trouble


def test_a_binary_that_is_missing_fails(look, tmp_path):
    assert by_name(look(**ollama(tmp_path / "none")))["ollama"].status is Status.FAIL


def test_a_port_that_is_taken_is_told_with_its_holder(look):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        facts = look(listen=f"127.0.0.1:{port}")
        check = by_name(facts)[f"port {port}"]
        assert check.status is Status.FAIL
        assert f"pid {os.getpid()}" in check.detail
        assert "python" in check.detail
        ours = by_name(look(listen=f"127.0.0.1:{port}", fleet_pid=os.getpid()))
        assert ours[f"port {port}"].status is Status.OK


def test_a_host_that_is_not_this_machine_cannot_be_listened_on(look):
    facts = look(listen="192.0.2.1:11434", insecure_no_auth=True)
    assert by_name(facts)["port 11434"].status is Status.FAIL


def test_ports_that_fleet_yaml_numbers_are_tried_for_each_instance(look):
    cpu = {"name": "cpu", "gpus": [], "count": 2}
    with socket.create_server(("127.0.0.1", 0)) as server:
        first = server.getsockname()[1] - 1
        facts = look(groups=[cpu], instance_ports=first)
    instances = [port for port in facts.ports if port.purpose == "instance_ports"]
    assert [port.port for port in instances] == [first, first + 1]
    assert instances[1].holder is not None
    assert instances[1].holder.pid == os.getpid()


def test_a_server_of_someone_else_is_found_and_named(look, tmp_path):
    path = program(tmp_path / "ollama", SERVER)
    environment = {**os.environ, "OLLAMA_MODELS": "/srv/models"}
    with ended(path, "serve", stdout=subprocess.PIPE, env=environment) as process:
        port = int(process.stdout.readline())
        (service,) = [s for s in find_services(timeout_s=20.0) if s.pid == process.pid]
        assert (service.host, service.port) == ("127.0.0.1", port)
        assert (service.store, service.version) == ("/srv/models", "0.20.1")
        assert process.pid not in {s.pid for s in find_services(ours={process.pid})}
        assert process.pid not in {s.pid for s in find_services(ours={os.getpid()})}
        assert process.pid in {s.pid for s in look().services}
        external = {"name": "theirs", "url": f"http://localhost:{port}"}
        facts = look(instances=[external])
        assert facts.externals == {"theirs": "0.20.1"}
        assert process.pid not in {s.pid for s in facts.services}


def test_instances_of_a_fleet_that_is_gone_are_found_by_their_records(look, tmp_path):
    with ended("sleep", "60") as process:
        started = find_process(process.pid).started_ticks
        alive = RunRecord("gpu-0", process.pid, started, 1, (), "", boot_id())
        reused = RunRecord("gpu-1", process.pid, started - 1, 1, (), "", boot_id())
        for record in (alive, reused):
            write_record(tmp_path / "runs", record)
        (tmp_path / "runs" / "odd.run.json").write_text("{")
        facts = look()
        assert facts.running == (alive,)
        assert "gpu-0" in by_name(facts)["left over"].detail
    assert look().running == ()
    assert (tmp_path / "runs" / "odd.run.json").exists()


def test_a_store_that_is_not_there_yet_is_to_be_made(look):
    (store,) = look().stores
    assert (store.exists, store.closed, store.read_only) == (False, (), ())
    assert store.free_bytes


def test_each_store_is_looked_at_once_and_says_what_is_damaged(look, tmp_path):
    put_model(tmp_path / "big", "m/latest", b"weights")
    blob_file(tmp_path / "big", b"weights").unlink()
    groups = [
        {"name": "a", "gpus": []},
        {"name": "b", "gpus": [], "store": str(tmp_path / "big")},
        {"name": "c", "gpus": [], "store": str(tmp_path / "big")},
    ]
    box, big = look(groups=groups).stores
    assert (box.path, box.damage) == (str(tmp_path / "models"), ())
    assert big.path == str(tmp_path / "big")
    assert [line.split(" ", 1)[0] for line in big.damage] == ["m:latest:"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_may_not_be_written_serves_what_it_has(look, tmp_path):
    blobs = tmp_path / "models" / "blobs"
    blobs.mkdir(parents=True)
    blobs.chmod(0o500)
    facts = look()
    assert (facts.stores[0].closed, facts.stores[0].read_only) == ((), (str(blobs),))
    assert by_name(facts)["store"].status is Status.WARN


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_folders_that_may_not_be_looked_into_are_no_crash(look, tmp_path):
    (tmp_path / "models").mkdir(mode=0)
    (tmp_path / "runs").mkdir(mode=0)
    facts = look()
    assert facts.running == ()
    assert facts.stores[0].closed


def test_a_store_below_a_file_is_no_store(look, tmp_path):
    (tmp_path / "file").touch()
    facts = look(ollama={"models": str(tmp_path / "file" / "models")})
    assert not facts.stores[0].exists


def test_groups_that_do_not_fit_the_gpus_are_told_with_the_way_out(look):
    card = Gpu("GPU-0", 0, "NVIDIA L4", Vendor.NVIDIA, 2**34)
    groups = [{"name": "a", "gpus": [7]}]
    check = by_name(look(Gpus(card), groups=groups))["placement"]
    assert check.status is Status.FAIL
    assert "GPU 7" in check.detail
    assert "gpus: auto" in check.fix


def test_cards_without_a_driver_are_counted_on_the_bus(tmp_path):
    """Controllers of NVIDIA that show or compute; neither their sound nor other makers' cards."""
    bus = [
        ("0x10de", "0x030000"),
        ("0x10de", "0x030200"),
        ("0x10de", "0x040300"),
        ("0x1002", "0x030000"),
    ]
    for number, (vendor, kind) in enumerate(bus):
        device = tmp_path / f"0000:0{number}:00.0"
        device.mkdir()
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text(f"{kind}\n")
    (tmp_path / "broken").mkdir()
    assert nvidia_cards(tmp_path) == 2


def test_our_own_program_is_seen(look):
    seen = look().program
    assert seen.python == sys.version_info[:3]
    assert Path(sys.executable).exists()
    assert seen.uvloop
