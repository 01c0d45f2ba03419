"""Where a real Ollama connects for a model's name is where the fleet has read that it would."""

import json
import os
import subprocess
from contextlib import suppress
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from fleet_process import until
from real_ollama import answers
from trap import Trap

from ollama_fleet.bench.ports import free_port
from ollama_fleet.names import ModelName

FORMS = (
    "{}/a/b", "{}/a/b:t", "{}/a/b:cloud", "{}/b", " {}/a/b", "\t{}/a/b\n", "\u2028{}/a/b",
    "http://{}/a/b", "HTTP://{}/a/b", "https://{}/a/b", "ftp://{}/a/b", "://{}/a/b", "x y://{}/a/b",
    "http+insecure://{}/a/b", "http\u017f://{}/a/b", "http:///{}/a/b", "http:{}/a/b", "//{}/a/b",
    "http://u:p@{}/a/b", "u@{}/a/b", "http:// {}/a/b", "http://{}//a/b", "http://{}/a/b/c",
    "http://{}/a/b@sha256:00", "http://http://{}/a/b", "http://{}/a/b#x", "http://{}/a/b?x",
    "{}\0/a/b", "\ufeff{}/a/b", "a/b://{}/c/d", "http://hf.co/x://{}/a/b", "hf.co:80@{}/a/b",
    "{}/../a/b", "http://{}\\a/b", "{}/a/b://hf.co/c/d", "hf.co/{}/a/b",
)  # fmt: skip


@pytest.fixture(scope="module")
def base(ollama, tmp_path_factory):
    """A real Ollama that knows of no cloud switch: that would answer for some names."""
    home = tmp_path_factory.mktemp("home")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "OLLAMA_HOST": f"127.0.0.1:{free_port()}",
    }
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([ollama, "serve"], env=environment, **silent) as process:
        try:
            url = f"http://{environment['OLLAMA_HOST']}"
            until(lambda: answers(url), what="the server")
            yield url
        finally:
            process.kill()


@pytest.mark.real
@pytest.mark.parametrize("route", ["pull", "create"])
def test_where_an_ollama_connects_is_where_the_fleet_has_read_that_it_would(base, route):
    """A name that the fleet takes for none, or for another host's, would be a way around its list.

    What Ollama connects for, it does at once: its answer comes behind that.
    """
    reached = []
    with Trap() as trap:
        for form in FORMS:
            before, name = trap.connections, form.format(f"127.0.0.1:{trap.port}")
            body = {"model": name, "insecure": True, "stream": False}
            if route == "create":
                body = {"model": "made", "from": name, "stream": False}
            with suppress(URLError):
                urlopen(Request(f"{base}/api/{route}", json.dumps(body).encode()), timeout=60)
            if trap.connections > before:
                reached.append(form)
                assert ModelName.parse(name).host == f"127.0.0.1:{trap.port}", form
    assert {"{}/a/b", "ftp://{}/a/b", "HTTP://{}/a/b"} <= set(reached)
