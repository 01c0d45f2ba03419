"""The two pairs that the whole table is asked of: simulated, and real."""

import parrot
import pytest
from pairs import profile, real_pair, simulated_pair
from real_ollama import box, create, ollama, served
from request_table import CALLER

__all__ = ["box", "ollama", "real", "simulated"]


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """A simulated pair."""
    with simulated_pair(tmp_path_factory.mktemp("simulated"), profile()) as pair:
        yield pair


@pytest.fixture(scope="session")
def real(box, tmp_path_factory):
    """A real pair on the box's store, with a model that calls tools."""
    with served([box.ollama, "serve"], box.home, box.store) as base:
        model = parrot.gguf(box.home / "caller.gguf", parrot.CALLER)
        create(base, CALLER, model, {"temperature": 0}, template=parrot.CALLER_TEMPLATE)
    with real_pair(tmp_path_factory.mktemp("real"), box.ollama, box.home, box.store) as pair:
        yield pair
