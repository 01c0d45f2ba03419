"""Where things lie in a model store: Ollama's layout, and the one folder in it that is ours.

manifests/<host>/<namespace>/<model>/<tag>    JSON; written last, for it makes a model
blobs/sha256-<64 hex>                         never changed once it is there
blobs/sha256-<64 hex>-partial[-N]             a download of Ollama's, and its parts
.ollama-fleet/                                our lock, and copies in the making
"""

import re
from pathlib import Path
from typing import Final

OURS: Final = ".ollama-fleet"
PART_SUFFIX: Final = ".part"
BLOB: Final = re.compile(r"sha256-[0-9a-fA-F]{64}")
PARTIAL: Final = re.compile(r"(sha256-[0-9a-fA-F]{64})-partial(-[0-9]+)?")
_DIGEST: Final = re.compile(r"sha256:[0-9a-fA-F]{64}")


def is_digest(text: object) -> bool:
    """Whether that is a digest, and so may become the name of a file."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def blob_name(digest: str) -> str:
    """The name of a blob's file. Raises ValueError for what is no digest."""
    if not is_digest(digest):
        raise ValueError(f"{digest[:80]!r} is not a digest")
    return digest.replace(":", "-")


def digest_of(name: str) -> str:
    """The digest of a blob by the name of its file."""
    return name.replace("-", ":", 1)


def blobs(store: Path) -> Path:
    """The folder of a store's blobs."""
    return store / "blobs"


def manifests(store: Path) -> Path:
    """The folder of a store's manifests."""
    return store / "manifests"


def blob_path(store: Path, digest: str) -> Path:
    """Where a blob is, or would be. Raises ValueError for what is no digest."""
    return blobs(store) / blob_name(digest)


def part_path(store: Path, digest: str) -> Path:
    """Where our copy of a blob grows. Raises ValueError for what is no digest."""
    return staging(store, blobs(store)) / f"{blob_name(digest)}{PART_SUFFIX}"


def staging(store: Path, beside: Path) -> Path:
    """The folder for files that will be renamed into `beside`, one of the store's two.

    It is on the same disk, and where neither Ollama's pruning nor its list of models looks: what
    lies among the blobs without a blob's name is removed when an Ollama starts.
    """
    try:
        apart = store.stat().st_dev != beside.stat().st_dev
    except OSError:
        apart = False
    return (beside if apart else store) / OURS
