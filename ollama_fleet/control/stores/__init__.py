"""The model stores on this machine: what they hold, and how a model gets from one to another.

`read_store` says what is there; `plan_transfer`, `bring_blobs` and `place_manifest` are the three
steps of a transfer, of which only the last makes a model. They block: call them on threads.
`Claims` keeps transfers that run side by side from counting on the same room. Who changes a store
takes its turn first (control/mutations.py).
"""

from ollama_fleet.control.stores.bringing import Way
from ollama_fleet.control.stores.claims import Claim, Claims
from ollama_fleet.control.stores.copying import TransferStopped
from ollama_fleet.control.stores.damaged import set_aside, settle
from ollama_fleet.control.stores.manifests import has_model, model_sizes, weights
from ollama_fleet.control.stores.reading import read_disk, read_store
from ollama_fleet.control.stores.records import (
    Damage,
    Disk,
    Fault,
    Layer,
    Manifest,
    Partial,
    Store,
)
from ollama_fleet.control.stores.space import MARGIN_BYTES, Shortage, shortages
from ollama_fleet.control.stores.transfer import (
    Transfer,
    bring_blobs,
    file_of,
    place_manifest,
    plan_transfer,
    verify_blob,
)

__all__ = [
    "MARGIN_BYTES",
    "Claim",
    "Claims",
    "Damage",
    "Disk",
    "Fault",
    "Layer",
    "Manifest",
    "Partial",
    "Shortage",
    "Store",
    "Transfer",
    "TransferStopped",
    "Way",
    "bring_blobs",
    "file_of",
    "has_model",
    "model_sizes",
    "place_manifest",
    "plan_transfer",
    "read_disk",
    "read_store",
    "set_aside",
    "settle",
    "shortages",
    "verify_blob",
    "weights",
]
