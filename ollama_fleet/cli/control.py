"""The client of a running fleet's control API: http.client over its socket, or at its door."""

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ollama_fleet.cli.holder import holder_of
from ollama_fleet.directories import Directories
from ollama_fleet.errors import Exit, FleetError, NotRunning
from ollama_fleet.system import door

ANSWER_TIMEOUT_S = 10.0  # for what a fleet answers from memory
_HANGS = "`fleet logs fleet` shows what it does if it runs in the background"

Document = Mapping[str, Any]
ByStore = Mapping[str, Sequence[str]]


class NotAllowed(FleetError):
    """The fleet is another user's."""

    exit_code = Exit.NOT_ALLOWED


class NoAnswer(FleetError):
    """The fleet is there and does not answer in time."""

    exit_code = Exit.TIMEOUT


class Control:
    """Asks one fleet. Every call raises NotRunning, NotAllowed, NoAnswer, or FleetError."""

    def __init__(self, directories: Directories) -> None:
        self._path = directories.socket
        self._lock = directories.lock

    def status(self, timeout_s: float = ANSWER_TIMEOUT_S) -> Document:
        """The snapshot of the fleet: ollama_fleet.state.FleetSnapshot as JSON has it."""
        answer: Document = json.loads(self.read("/v1/status", timeout_s))
        return answer

    def read(self, path: str, timeout_s: float = ANSWER_TIMEOUT_S) -> bytes:
        """What the fleet tells under a path, as it comes."""
        with self._asked("GET", path, None, timeout_s) as response:
            return response.read()

    def restart(self, instances: Sequence[str], *, together: bool = False) -> Document:
        """Restart instances, all if none is named; who was `restarted`, `failed`, was `left`."""
        wanted = {"instances": list(instances), "together": together}
        return self._document("POST", "/v1/restart", wanted, None)

    def drain(self, instances: Sequence[str], *, reason: str, force: bool) -> Sequence[str]:
        """Take instances, named themselves or by groups, out of rotation; their names."""
        wanted = {"instances": list(instances), "reason": reason, "force": force}
        answer = self._document("POST", "/v1/drain", wanted, ANSWER_TIMEOUT_S)
        return list(answer["drained"])

    def undrain(self, instances: Sequence[str]) -> Sequence[str]:
        """Put them back; likewise."""
        wanted = {"instances": list(instances)}
        answer = self._document("POST", "/v1/undrain", wanted, ANSWER_TIMEOUT_S)
        return list(answer["undrained"])

    def reload(self, *, dry_run: bool) -> Document:
        """Have fleet.yaml read again; ollama_fleet.fleet.reloading.Reloaded as JSON has it."""
        return self._document("POST", "/v1/reload", {"dry_run": dry_run}, None)

    def down(self, *, now: bool) -> None:
        """Tell the fleet to stop; returns when it has begun to."""
        with self._asked("POST", "/v1/down", {"now": now}, ANSWER_TIMEOUT_S) as response:
            response.read()

    def pull(self, model: str, *, insecure: bool, to: Sequence[str] = ()) -> Iterator[Document]:
        """Progress records as they come; a stream that is cut simply ends. `to`: who gets it."""
        return self._lines("/v1/pull", {"model": model, "insecure": insecure, "to": list(to)})

    def refresh(self, *, insecure: bool, to: Sequence[str] = ()) -> Iterator[Document]:
        """Every model that is there, pulled again; records with its `model`, and its `outcome`."""
        return self._lines("/v1/pull", {"all": True, "insecure": insecure, "to": list(to)})

    def models(self, begins: Sequence[str] = (), timeout_s: float = ANSWER_TIMEOUT_S) -> Document:
        """Which models are where: ollama_fleet.state.models.Models as JSON has it."""
        query = urlencode([("name", text) for text in begins])
        return self._document("GET", f"/v1/models?{query}", None, timeout_s)

    def show(self, model: str, *, verbose: bool) -> Document:
        """Ollama's answer to /api/show as `show`, and the `instance` that gave it."""
        return self._document("POST", "/v1/show", {"model": model, "verbose": verbose}, None)

    def footprints(self, model: str) -> Sequence[Document]:
        """What a model takes: ollama_fleet.control.footprints.Footprint as JSON has it."""
        path = f"/v1/footprints?{urlencode({'name': model})}"
        found: Sequence[Document]
        found = self._document("GET", path, None, ANSWER_TIMEOUT_S)["footprints"]
        return found

    def copy(self, source: str, destination: str) -> Sequence[Document]:
        """Give a model a second name; a change for each store: `store`, `status`, `error`."""
        wanted = {"source": source, "destination": destination}
        changes: Sequence[Document] = self._document("POST", "/v1/copy", wanted, None)["changes"]
        return changes

    def delete(self, model: str, *, force: bool) -> Sequence[Document]:
        """Remove a model, with `force` from memory first; likewise."""
        wanted = {"model": model, "force": force}
        changes: Sequence[Document] = self._document("POST", "/v1/delete", wanted, None)["changes"]
        return changes

    def events(self, wanted: Mapping[str, object]) -> Sequence[Document]:
        """What has happened: ollama_fleet.state.Event as JSON has it. `wanted` is the query."""
        query = urlencode(wanted, doseq=True)
        path = f"/v1/events?{query}"
        events: Sequence[Document] = self._document("GET", path, None, ANSWER_TIMEOUT_S)["events"]
        return events

    def follow_events(self, wanted: Mapping[str, object]) -> Iterator[Document]:
        """Likewise, and what happens from now on, until the fleet has stopped."""
        query = urlencode({**wanted, "follow": 1}, doseq=True)
        return self._lines(f"/v1/events?{query}", None)

    def load(self, model: str, on: Sequence[str]) -> Iterator[Document]:
        """Load a model; steps as they come: ollama_fleet.control.preloads.Told as JSON has it."""
        return self._lines("/v1/load", {"model": model, "on": list(on)})

    def unload(self, model: str, on: Sequence[str]) -> Iterator[Document]:
        """Unload it; likewise."""
        return self._lines("/v1/unload", {"model": model, "on": list(on)})

    def verify_sync(self, models: Sequence[str], *, origin: str) -> Iterator[Document]:
        """Hash the blobs; progress records, of which the last has `damaged` and `errors`."""
        return self._lines("/v1/sync/verify", {"models": list(models), "from": origin})

    def plan_sync(
        self, models: Sequence[str], *, origin: str, prune: bool, damaged: ByStore
    ) -> Document:
        """What a sync would do: ollama_fleet.control.library.plan.SyncPlan as JSON has it."""
        wanted = {"models": list(models), "from": origin, "prune": prune, "damaged": damaged}
        return self._document("POST", "/v1/sync/plan", wanted, None)

    def sync(
        self, models: Sequence[str], *, origin: str, remove: ByStore, damaged: ByStore
    ) -> Iterator[Document]:
        """Do it, and remove what is agreed to; progress records, each with its `model`."""
        wanted = {"models": list(models), "from": origin, "remove": remove, "damaged": damaged}
        return self._lines("/v1/sync", wanted)

    def plan_prune(self, to: Sequence[str] = (), *, older_s: float | None = None) -> Document:
        """What no model needs: ollama_fleet.control.library.pruning.Pruned as JSON has it."""
        age = {} if older_s is None else {"older_s": older_s}
        return self._document("POST", "/v1/prune/plan", {"to": list(to), **age}, None)

    def prune(self, remove: ByStore, *, older_s: float) -> Document:
        """Remove what is agreed to, files by store; what has gone, likewise."""
        return self._document("POST", "/v1/prune", {"remove": remove, "older_s": older_s}, None)

    def _document(
        self, method: str, path: str, body: Document | None, timeout_s: float | None
    ) -> Document:
        with self._asked(method, path, body, timeout_s) as response:
            answer: Document = json.loads(response.read())
        return answer

    def _lines(self, path: str, body: Document | None) -> Iterator[Document]:
        """Records as they come; a stream that is cut simply ends. Without a body it is a GET."""
        method = "GET" if body is None else "POST"
        with self._asked(method, path, body, None) as response:
            for line in response:
                yield json.loads(line)

    @contextmanager
    def _asked(
        self, method: str, path: str, body: Document | None, timeout_s: float | None
    ) -> Iterator[http.client.HTTPResponse]:
        connection = _Connection(self._path, timeout_s)
        try:
            connection.ask(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise _refusal(response.status, response.read())
            yield response
        except (FileNotFoundError, ConnectionRefusedError):
            raise self._not_running() from None
        except PermissionError:
            raise NotAllowed(
                f"the fleet behind {self._path} is another user's",
                "ask its owner, or set FLEET_STATE_DIR to run one of your own",
            ) from None
        except TimeoutError:
            raise NoAnswer(f"the fleet has not answered for {timeout_s:.3g} s", _HANGS) from None
        except BlockingIOError:  # its socket is full of those that nobody has let in
            raise NoAnswer("the fleet lets nobody in", _HANGS) from None
        except (ConnectionError, http.client.HTTPException):
            raise NotRunning("the fleet ended before it had answered") from None
        finally:
            connection.close()

    def _not_running(self) -> NotRunning:
        pid = holder_of(self._lock)
        if not pid:
            return NotRunning("no fleet is running", "`fleet up` starts one")
        return NotRunning(
            f"the fleet (pid {pid}) does not answer",
            f"it may still be starting, or stopping; if it hangs, `kill {pid}` ends it",
        )


def running() -> Control:
    """The control API of this user's fleet, whether or not it runs."""
    return Control(Directories.find(os.environ))


class _Connection(http.client.HTTPConnection):
    """HTTP over the Unix socket at a path, or to the port that a file there tells of."""

    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__(door.LOOPBACK, timeout=timeout_s)
        self._path = path

    def ask(self, method: str, path: str, body: str | None) -> None:
        """Send a request, with the secret of the door where there is one."""
        headers = {}
        if not door.has_unix_sockets():
            found = door.find(self._path)
            self.port, headers = found.port, found.headers
        self.request(method, path, body, headers)

    def connect(self) -> None:
        """Connect to where the fleet is asked."""
        if not door.has_unix_sockets():
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _refusal(status: int, body: bytes) -> FleetError:
    """The error the fleet answered with, in its own words where it has some."""
    text = body.decode(errors="replace").strip()
    try:
        told = json.loads(text)
        error = FleetError(str(told["error"]), str(told.get("hint") or ""))
        error.exit_code = Exit(told.get("exit_code", Exit.FAILED))
    except (ValueError, TypeError, KeyError):
        return FleetError(f"the fleet answered {status}: {text or 'nothing'}")
    return error
