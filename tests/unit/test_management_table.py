"""However it is asked for, no instance is asked to change anything for who is no admin."""

import asyncio
import contextlib
import json
import time
from random import Random
from types import SimpleNamespace
from urllib.parse import unquote

from fleet_fixtures import fleet
from managed_paths import MANAGEMENT, METHODS, OVERRIDES, SUBSTITUTES, paths
from multidict import CIMultiDict

from ollama_fleet.api.app import Api
from ollama_fleet.api.auth import Caller, Gate, Role, Terms
from ollama_fleet.api.auth.presented import digest
from ollama_fleet.api.auth.ring import KeyRing
from ollama_fleet.api.bodies import Limits
from ollama_fleet.api.connection import Answer
from ollama_fleet.api.guests import Door, Origins
from ollama_fleet.api.parts import Parts
from ollama_fleet.api.visit import RequestIds
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.errors import ConnectFailed

OF_EACH = 170  # paths
USER, ADMIN = "fleet_user", "fleet_admin"
CREDENTIALS = (
    ("", {}),
    ("", {"Authorization": f"Bearer {USER}"}),
    ("", {"X-Api-Key": USER}),
    (f"/k/{USER}", {}),
    (f"/k/{USER}", {"Authorization": f"Bearer {ADMIN}"}),  # the path's is the one that counts
    ("", {"Authorization": "Bearer fleet_unknown", "X-Api-Key": ADMIN}),
    (f"/k/{ADMIN}0", {}),
)
BODY = json.dumps({"model": "m", "source": "m", "destination": "n", "from": "m"}).encode()


class Tap:
    """Stands where instances would be asked, and notes for what."""

    def __init__(self):
        self.asked = []

    async def serve(self, request, _client):
        self.asked.append((request.method, request.path))
        raise ConnectFailed("nobody is there")

    async def pull(self, _name, _insecure):
        self.asked.append(("POST", "/api/pull"))
        for record in ():
            yield record


class Body:
    """One that has come whole."""

    def is_eof(self):
        return True

    def read_nowait(self):
        return BODY


def request(method, target, headers):
    headers = {"Host": "x", **headers}
    return SimpleNamespace(
        method=method,
        target=target,
        headers=CIMultiDict(headers),
        raw_headers=tuple((n.encode(), v.encode()) for n, v in headers.items()),
        body=Body(),
        expects=None,
        remote="10.0.0.1",
        is_modern=True,
        version=(1, 1),
        at_end=None,
        body_bytes=len(BODY),
        connection=SimpleNamespace(transport=None, flow=lambda *_: None, send=lambda _: None),
    )


async def nothing(*_arguments):
    """What else there is to do."""


def front(tap, **terms):
    state = fleet("a")
    mutations = Mutations(state, nothing)
    parts = Parts(state, tap, mutations, Limits(2**20, 1.0), tap, nothing)
    gate = Gate(Terms(**terms), clock=time.monotonic, wall=time.time)
    callers = Caller("ann", Role.USER), Caller("root", Role.ADMIN)
    gate.renew(
        KeyRing(b"s", {digest(b"s", k): c for k, c in zip((USER, ADMIN), callers, strict=True)})
    )
    return Api(parts, Door(Origins(), None), RequestIds(0.0, 0), gate)


async def ask(api, method, target, headers):
    """Ask, and follow where it leads, as clients do."""
    for _ in range(4):
        with contextlib.suppress(ConnectFailed):
            answer = await api.handle(request(method, target, headers))
            location = dict(getattr(answer, "headers", ())).get("Location")
            if not isinstance(answer, Answer) or location is None:
                return
            target = location


def is_management(path):
    names = ("/api/blobs/", "/api/user/")
    return path in {path for _, path in MANAGEMENT} or unquote(path).startswith(names)


def test_no_way_of_writing_a_path_reaches_what_only_admins_may():
    """Of 20,000 and more: encodings, slashes, dots, cases, absolute forms, keys, overrides."""
    tap, rng, cases = Tap(), Random(8), 0
    api = front(tap, required=True)

    async def ask_all():
        nonlocal cases
        for of_method, path in MANAGEMENT:
            for target in paths(rng, path, OF_EACH):
                for method in METHODS:
                    before, headers = rng.choice(CREDENTIALS)
                    extra = {rng.choice(OVERRIDES): of_method, rng.choice(SUBSTITUTES): path}
                    fields = headers | extra if rng.random() < 0.5 else headers
                    await ask(api, method, before + target, fields)
                    cases += 1

    asyncio.run(ask_all())
    assert cases >= 20_000
    assert [asked for asked in tap.asked if is_management(asked[1])] == []


def test_who_was_led_to_a_fleet_without_keys_changes_nothing_either():
    """A Host that is not what a machine calls itself, and no key: as a user."""
    tap, rng = Tap(), Random(9)
    api = front(tap, by_name=True)

    async def ask_all():
        for _, path in MANAGEMENT:
            for target in paths(rng, path, 150):
                for method in ("POST", "DELETE", "HEAD"):
                    await ask(api, method, target, {"Host": rng.choice(("10.0.0.7", "box.local"))})

    asyncio.run(ask_all())
    assert [asked for asked in tap.asked if is_management(asked[1])] == []


def test_an_admin_reaches_all_of_it():
    """Or the tables above would hold of a front that serves nothing."""
    for method, path in MANAGEMENT:
        for before, headers in ((f"/k/{ADMIN}", {}), ("", {"X-Api-Key": ADMIN})):
            tap = Tap()
            asyncio.run(ask(front(tap, required=True), method, before + path, headers))
            assert [is_management(path) for _, path in tap.asked] == [True], (method, path)


def test_a_user_reaches_models():
    tap = Tap()
    api = front(tap, required=True)
    asyncio.run(ask(api, "POST", "/api/chat", {"Authorization": f"Bearer {USER}"}))
    assert tap.asked == [("POST", "/api/chat")]
