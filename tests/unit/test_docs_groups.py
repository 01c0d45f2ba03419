"""docs/choosing-groups.md shows what `fleet plan` prints, and its sums are right."""

import re
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from ollama_fleet.cli.commands.plan import show
from ollama_fleet.config import Config
from ollama_fleet.gpu import Gpu, Inventory, Vendor
from ollama_fleet.names import canonical
from ollama_fleet.placement import Models, place

PAGE = (Path(__file__).parents[2] / "docs" / "choosing-groups.md").read_text()
CARDS = {"One card": 1, "Two cards": 2, "Four cards": 4, "Eight cards": 8}
SIZES_BYTES = {
    "llama3.1:8b": 4_900_000_000,
    "qwen3:32b": 20_200_000_000,
    "llama3.3:70b": 42_500_000_000,
    "nomic-embed-text": 274_000_000,
}
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
        models=Models({canonical(model): size for model, size in SIZES_BYTES.items()}),
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


def test_a_model_too_large_for_its_card_is_told_of_as_shown():
    (said,) = re.findall(r"```text\n(llama3.3:70b needs.*?)```", PAGE, re.DOTALL)
    config = "groups: [{name: big, gpus: [0], models: ['llama3.3:70b']}, {name: small, gpus: [1]}]"
    inventory = Inventory(
        tuple(Gpu(f"GPU-{i}", i, "24 GB card", Vendor.NVIDIA, 24 * GIB) for i in range(2)), ()
    )
    placement = place(
        Config.model_validate(yaml.safe_load(config)),
        inventory,
        ports=count(11435),
        inherited={},
        models=Models({canonical("llama3.3:70b"): SIZES_BYTES["llama3.3:70b"]}),
    )
    assert " ".join(said.split()) in placement.notes


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
