"""The examples of the manual do what they say on a simulated fleet."""

import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

import click
import pytest
from cli_fixtures import PROFILE, WAIT_S, Cli

from ollama_fleet import cli as command_line
from ollama_fleet.cli.commands import fleet as root

ORDER = (  # what takes a model away comes after what needs it
    "config", "keys", "plan", "version", "completion", "init", "status", "top", "metrics", "pull",
    "list", "show", "load", "stop", "sync", "cp", "rm", "drain", "undrain", "reload",
    "restart", "history", "explain", "usage", "events", "logs", "prune",
)  # fmt: skip
ELSEWHERE = ("fleet events -f", "fleet logs -f", 'eval "$(fleet completion zsh)"')
FLEET = """\
groups:
  - { name: gpu-0, gpus: [0] }
  - { name: gpu-1, gpus: [1] }
models:
  "qwen3:8b": {}
"""
MODELS = ("qwen3:8b", "llama3.1:8b", "mistral:7b")  # that examples name, with less in them
_MODEL = "  - {{ name: '{}', size: 1MB, parameter_size: 8B, quantization: F16, family: llama }}\n"
SMALL = (
    PROFILE.partition("models:")[0]
    + f"models:\n{''.join(map(_MODEL.format, MODELS))}"
    + 'installed: ["qwen3:8b"]\noutputs: { median_tokens: 20, sigma: 0.5, max_tokens: 100 }\n'
)


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    """Two GPUs with the models that the examples name, but small; `fleet` is on the PATH."""
    cli = Cli(tmp_path)
    programs = Path(sys.executable).parent
    cli.environ |= {
        "HOME": str(tmp_path),
        "PATH": f"{programs}:{cli.environ['PATH']}",
        "FLEET_INSTANCE_PORTS": "auto",
    }
    (tmp_path / ".config" / "ollama-fleet").mkdir(parents=True)
    (tmp_path / ".config" / "fish" / "completions").mkdir(parents=True)
    (tmp_path / "new.yaml").write_text(FLEET)
    (tmp_path / "small.yaml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    for name, value in cli.environ.items():
        monkeypatch.setenv(name, value)
    try:
        address = f"127.0.0.1:{cli.port}"
        done = cli.run(
            "up", "-c", "new.yaml", "--simulate", "small.yaml", "--listen", address, "--wait"
        )
        assert done.code == 0, done.err
        yield cli
    finally:
        cli.end()


def _examples():
    context = click.Context(root)
    lines = (line for name in ORDER for line in root.get_command(context, name).examples)
    return [line for line in lines if line not in ELSEWHERE]


def _run(line):
    """The exit code: in this process, which is quicker; in bash where that has a part in it."""
    if not re.search(r"[|>$~]", line):
        return command_line.run(shlex.split(line)[1:])
    return subprocess.run(["bash", "-c", line], timeout=WAIT_S, check=False).returncode


@pytest.mark.timeout(240)  # some sixty commands, each waited for
def test_every_example_works(fleet, capfd):
    """One after another on the same fleet, each ends with 0; and they have done something."""
    url = f"http://127.0.0.1:{fleet.port}/api/generate"
    with urllib.request.urlopen(url, b'{"model": "qwen3:8b", "prompt": "hi"}', WAIT_S) as answer:
        assert answer.read()
    examples = _examples()
    for line in examples:
        assert _run(line) == 0, f"{line}: {capfd.readouterr().err}"
    assert Path("Modelfile").read_text().startswith("#")
    assert len(examples) > len(ORDER)
