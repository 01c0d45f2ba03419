"""No version with a known hole that matters here: a floor for each, and for what is pinned.

Feeds of such holes cannot be had everywhere; this list is kept by hand.
"""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
FLOORS = {
    "aiohttp": ("3.14.3", "GHSA-cq5v-8q36-5273: reading out of bounds of a malformed answer"),
    "certifi": ("2024.7.4", "CVE-2024-39689: an authority that is trusted no more"),
    "h11": ("0.16.0", "CVE-2025-43859: bodies in chunks read too leniently"),
    "idna": ("3.7", "CVE-2024-3651: time without end"),
    "protobuf": ("6.31.1", "CVE-2025-4565: recursion without end"),
    "pydantic": ("2.4.0", "CVE-2024-3772: an expression without end"),
    "pygments": ("2.15.0", "CVE-2022-40896: an expression without end"),
    "pyyaml": ("5.4", "CVE-2020-14343: code in a document"),
    "requests": ("2.32.4", "CVE-2024-47081: passwords to other hosts"),
    "urllib3": ("2.6.0", "CVE-2025-66418, -66471: bodies that unpack without end"),
}
PINNED = dict(
    re.findall(
        r"^([a-z0-9.-]+)==([^ ;\\]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    )
)


def declared():
    """What the package itself asks for, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {found.name.lower(): found for found in map(Requirement, project["dependencies"])}


@pytest.mark.parametrize("name", FLOORS)
def test_what_is_pinned_is_above_every_floor(name):
    floor, why = FLOORS[name]
    assert Version(PINNED[name]) >= Version(floor), why


@pytest.mark.parametrize("name", sorted(FLOORS.keys() & declared().keys()))
def test_what_is_asked_for_allows_nothing_below_its_floor(name):
    """Nobody installs one by accident who does not install by the lock."""
    floors = [s.version for s in declared()[name].specifier if s.operator == ">="]
    assert Version(max(floors, key=Version)) >= Version(FLOORS[name][0]), FLOORS[name][1]


def test_every_package_is_pinned_by_hash():
    text = (ROOT / "requirements.lock").read_text()
    pinned = re.findall(r"^[a-z0-9.-]+==", text, re.MULTILINE)
    entries = [entry for entry in re.split(r"\n(?=[a-z0-9.-]+==)", text) if "==" in entry]
    assert len(pinned) == len(entries)
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
