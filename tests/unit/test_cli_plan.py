"""`fleet plan`: what its table says of a placement."""

import re
from types import SimpleNamespace

from ollama_fleet.cli.commands.plan import show
from ollama_fleet.config import Config
from ollama_fleet.gpu import Gpu, Inventory, Vendor
from ollama_fleet.placement import Models, place

CARD = Gpu("GPU-0", 0, "NVIDIA L4", Vendor.NVIDIA, 24 * 2**30)


def models_of(config):
    """The MODELS cell of the one instance that a configuration has on one card."""
    inventory = Inventory((CARD,), ())
    placement = place(
        Config.model_validate(config),
        inventory,
        ports=iter(range(11435, 11500)),
        inherited={},
        models=Models(),
    )
    prepared = SimpleNamespace(placement=placement, inventory=inventory)
    return re.split(r" +", show(prepared, wide=False).splitlines()[1])[-1]


def test_a_model_stands_once_however_many_reasons_bind_it():
    """Pinned and preloaded, under whichever of its names: it is one model, as the file names it."""
    config = {
        "groups": [{"name": "a", "gpus": "auto", "models": ["nomic-embed-text"]}],
        "models": {"nomic-embed-text:latest": {"preload": True}, "qwen3:8b": {"preload": True}},
    }
    assert models_of(config) == "nomic-embed-text,qwen3:8b"


def test_an_instance_without_models_says_so():
    assert models_of({}) == "-"
