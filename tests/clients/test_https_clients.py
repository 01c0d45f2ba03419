"""Unmodified clients over HTTPS, with a certificate of an authority that they are told of."""

import os
import shutil
import ssl
import subprocess
import urllib.request
from urllib.error import HTTPError

import httpx
import ollama
import openai
import pytest
from certificates import Authority
from fleet_process import until
from served_fleet import SCALE, ServedFleet
from talk import HELLO, MODEL

TLS = "tls: { cert: tls/fleet.pem, key: tls/fleet.key }\nmetrics: { listen: '127.0.0.1:0' }\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, authority):
    """A simulated fleet that speaks HTTPS."""
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "tls").mkdir()
    authority.issue(folder / "tls" / "fleet.pem", folder / "tls" / "fleet.key")
    made = ServedFleet(folder, config=TLS, **SCALE)
    made.secure = f"https://localhost:{made.port}"
    made.started = made.run("up", "-d", "--wait", "--simulate", "4-mixed")
    yield made
    made.run("down")


@pytest.fixture(scope="module")
def trusting(authority):
    return ssl.create_default_context(cafile=authority.file)


def test_the_ollama_library_streams(fleet, trusting):
    with ollama.Client(fleet.secure, verify=trusting) as client:
        chunks = list(client.chat(MODEL, HELLO, stream=True, options={"num_predict": 8}))
    assert chunks[-1].done
    assert any(chunk.message.content for chunk in chunks)


def test_the_openai_library_streams(fleet, trusting):
    http = httpx.Client(verify=trusting)
    with openai.OpenAI(base_url=f"{fleet.secure}/v1", api_key="x", http_client=http) as client:
        asked = client.chat.completions.create(
            model=MODEL, messages=HELLO, stream=True, max_tokens=8
        )
        assert [chunk.choices[0].finish_reason for chunk in asked if chunk.choices][-1]


def test_the_ollama_command_works(fleet, authority):
    program = os.environ.get("OLLAMA_BIN") or shutil.which("ollama")
    if program is None:
        pytest.skip("there is no ollama")
    environment = {
        "HOME": str(fleet.folder),
        "OLLAMA_HOST": fleet.secure,
        "SSL_CERT_FILE": str(authority.file),
    }
    done = subprocess.run(
        [program, "list"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert MODEL in done.stdout


def test_who_does_not_know_the_authority_does_not_speak(fleet):
    with ollama.Client(fleet.secure) as client, pytest.raises(ConnectionError):
        client.list()


def test_plain_http_gets_an_answer_in_words(fleet):
    with pytest.raises(HTTPError) as refused:
        urllib.request.urlopen(f"{fleet.base}/api/tags", timeout=20)
    assert refused.value.code == 400
    assert b"HTTPS" in refused.value.read()


def test_status_says_where_clients_find_the_fleet(fleet):
    assert f"https://{fleet.address}" in fleet.started.stderr
    assert f"listening on https://{fleet.address}" in fleet.run("status").stdout
    assert fleet.status()["listen"] == f"https://{fleet.address}"


def test_a_renewed_certificate_is_an_event(fleet, authority):
    pair, events = fleet.folder / "tls", fleet.folder / "state" / "events.jsonl"
    authority.issue(pair / "fleet.pem", pair / "fleet.key", name="renewed")
    until(lambda: "certificate_renewed" in events.read_text(), what="certificate_renewed")


def test_a_fleet_does_not_start_with_a_certificate_that_it_cannot_use(tmp_path):
    """It says why in one line, with the status of a configuration that is wrong."""
    made = ServedFleet(tmp_path, config=TLS)
    done = made.run("up", "--simulate", "4-mixed", check=False)
    assert done.returncode == 78
    assert "Traceback" not in done.stderr
    assert "fleet.pem" in done.stderr
    assert not (tmp_path / "state" / "runs").exists() or not any(
        (tmp_path / "state" / "runs").iterdir()
    )
