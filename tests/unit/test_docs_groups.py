"""docs/choosing-groups.md shows what `fleet plan` prints, and its sums are right."""

import re
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
import yaml

from ollama_fleet.cli import fitting
from ollama_fleet.cli.commands.plan import show
from ollama_fleet.config import Config
from ollama_fleet.errors import PlacementError
from ollama_fleet.fleet.simulating import profile_models
from ollama_fleet.gpu import Gpu, Inventory, Vendor
from ollama_fleet.names import canonical
from ollama_fleet.placement import Models, place
from ollama_fleet.placement.fits import model_fits
from ollama_fleet.sim.hardware import SimulatedGpus
from ollama_fleet.sim.ollama.profile import Model, load
from ollama_fleet.sim.shapes import shape_of

PAGE = (Path(__file__).parents[2] / "docs" / "choosing-groups.md").read_text()
CARDS = {"One card": 1, "Two cards": 2, "Four cards": 4, "Eight cards": 8}
KNOWN = [  # as the simulated boxes have them
    Model("llama3.1:8b", 4_900_000_000, "8.0B", "Q4_K_M", "llama", context_length=131072),
    Model("qwen3:32b", 20_200_000_000, "32.8B", "Q4_K_M", "qwen3", context_length=40960),
    Model("llama3.3:70b", 42_500_000_000, "70.6B", "Q4_K_M", "llama", context_length=131072),
    Model("nomic-embed-text", 274_000_000, "137M", "F16", "nomic-bert", embedding=True),
]
SIZES_BYTES = {model.name: model.size_bytes for model in KNOWN}
MODELS = Models(
    {canonical(model.name): model.size_bytes for model in KNOWN},
    {canonical(model.name): shape_of(model) for model in KNOWN},
)
GIB = 2**30


def shown():
    """Each fleet.yaml of the page, on how many cards it stands there, and the plan below it."""
    for title, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL):
        for config, plan in re.findall(
            r"```yaml\n(.*?)```\s+```console\n\$ fleet plan\n(.*?)```", body, re.DOTALL
        ):
            yield pytest.param(CARDS[title], config, plan, id=f"{title}: {config.split()[3]}")


def planned(cards, config, first_port):
    """What `fleet plan` prints on so many cards of 24 GiB."""
    inventory = Inventory(
        tuple(Gpu(f"GPU-{i}", i, "24 GB card", Vendor.NVIDIA, 24 * GIB) for i in range(cards)), ()
    )
    placement = place(
        Config.model_validate(yaml.safe_load(config)),
        inventory,
        ports=count(first_port),
        inherited={},
        models=MODELS,
    )
    return show(SimpleNamespace(placement=placement, inventory=inventory), wide=False)


@pytest.mark.parametrize(("cards", "config", "plan"), list(shown()))
def test_a_plan_is_what_the_command_prints(cards, config, plan):
    """Up to where the page breaks off with an ellipsis; nobody is warned of what it advises."""
    first_port = int(re.search(r"\b11\d{3}\b", plan)[0])
    printed = planned(cards, config, first_port)
    said = plan.removesuffix("…\n")
    assert printed.startswith(said) if said != plan else printed == said.rstrip("\n")
    assert "CPU" not in printed


def test_a_model_too_large_for_its_card_is_refused_as_shown():
    (said,) = re.findall(r"```text\nfleet: (group `big` cannot.*?)```", PAGE, re.DOTALL)
    config = "groups: [{name: big, gpus: [0], models: ['llama3.3:70b']}, {name: small, gpus: auto}]"
    with pytest.raises(PlacementError) as caught:
        planned(2, config, 11435)
    assert " ".join(said.split()) == caught.value.told


def test_where_a_model_fits_is_what_the_command_prints(tmp_path):
    (said,) = re.findall(r"--model qwen3:32b\n(.*?)```", PAGE, re.DOTALL)
    profile = load("2x24GB")
    inventory = SimulatedGpus(profile, tmp_path).inventory()
    found = model_fits(Config(), inventory, profile_models(profile), "qwen3:32b")
    assert click.unstyle(fitting.show(found)) == said.rstrip("\n")


def test_the_sums_of_the_table_are_right():
    """Layers, heads and head size give a token's bytes, and those the cache of four slots."""
    rows = re.findall(
        r"^\| `([^`]+)` \((\d+)(?: layers)?, (\d+)(?: heads)?, (\d+)\) \| ([\d.]+) GiB \| (\d+) KiB"
        r" \| ([\d.]+) GiB \| ([\d.]+) GiB \|$",
        PAGE,
        re.MULTILINE,
    )
    assert len(rows) == 3
    for model, layers, heads, size, weights, token, plain, halved in rows:
        token_bytes = 2 * int(layers) * int(heads) * int(size) * 2
        cache_gib = 4 * 8192 * token_bytes / GIB
        assert int(token) == token_bytes / 1024
        assert float(plain) == round(cache_gib, 1)
        assert float(halved) == round(0.53 * cache_gib, 1)
        assert float(weights) == round(SIZES_BYTES[model] / GIB, 1)
