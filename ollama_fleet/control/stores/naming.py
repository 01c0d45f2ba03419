"""Names whose manifest is no model's: told, and given back to what they were of."""

from pathlib import Path

from ollama_fleet.control.stores import layout
from ollama_fleet.control.stores.bringing import Way, store_error
from ollama_fleet.control.stores.copying import Stopped
from ollama_fleet.control.stores.manifests import is_model, path_of
from ollama_fleet.control.stores.records import Manifest
from ollama_fleet.control.stores.transfer import Transfer, place_manifest
from ollama_fleet.system.files import sync_folder


def names_no_model(store: Path, key: str) -> bool:
    """Whether a name is there, and what it is of can be no model. Raises StoreError."""
    try:
        path = path_of(store, key)
        return path is not None and not is_model(store, path)
    except FileNotFoundError:
        return False  # it was removed meanwhile
    except OSError as error:
        raise store_error(error, layout.manifests(store)) from error


def put_back(store: Path, key: str, before: Manifest | None, *, stopped: Stopped) -> None:
    """Give a name to the model that it was of, or take it away where there was none.

    To be called in a turn of the store (Mutations.removing). Raises StoreError.
    """
    if before is not None:
        place_manifest(
            Transfer(before, store, store, before.path, (), Way.THERE, None), stopped=stopped
        )
        return
    try:
        path = path_of(store, key)
        if path is not None:
            path.unlink(missing_ok=True)
            sync_folder(path.parent)
    except OSError as error:
        raise store_error(error, layout.manifests(store)) from error
