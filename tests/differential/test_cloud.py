"""Models at ollama.com, straight and through the router; a stand-in answers for it."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from judging import check
from pairs import profile, real_pair, simulated_pair
from rows_cloud import CROWDED, GONE, LOCKED, NAMED, OUT_OF_REACH, REACHED

REFUSALS = {
    LOCKED: (401, {"error": "unauthorized", "signin_url": "https://cloud.example/connect?key=k"}),
    CROWDED: (429, {"error": "too many requests"}),
}
NOWHERE = "http://127.0.0.1:1"
RECORDS = [b'{"response":"from', b' afar"}\n', b'{"response":"from afar","done":true}\n']


class Cloud(BaseHTTPRequestHandler):
    """Refuses or answers by the model that is asked for, or hangs up."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["model"] == GONE:
            self.close_connection = True
        elif body["model"] in REFUSALS:
            status, told = REFUSALS[body["model"]]
            self._whole(status, json.dumps(told).encode())
        elif body.get("stream"):
            self._stream(events=self.path.startswith("/v1/"))
        else:
            self._whole(200, b"".join(RECORDS), named=body["model"] == NAMED)

    def _whole(self, status, body, *, named=False):
        self.send_response_only(status)
        if named:
            self.send_header("Server", self.version_string())
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, *, events):
        self.send_response_only(200)
        self.send_header("Content-Type", "text/event-stream" if events else "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        pieces = (
            [b"data: ", *RECORDS, b"\n", _end(self.path.partition("?")[0])] if events else RECORDS
        )
        for piece in (*pieces, b""):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def log_message(self, *_):
        pass


def _end(path):
    """By what a client knows that all was said."""
    name = {"/v1/responses": "response.completed", "/v1/messages": "message_stop"}.get(path)
    told = f'event: {name}\ndata: {{"type":"{name}"}}\n\n' if name else "data: [DONE]\n\n"
    return told.encode()


@contextmanager
def cloud():
    """Its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Cloud) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def simulated_cloud(tmp_path_factory):
    """A simulated pair that may use a cloud, and finds none."""
    with simulated_pair(tmp_path_factory.mktemp("cloud"), profile(), cloud=NOWHERE) as pair:
        yield pair


@pytest.fixture(scope="module")
def real_cloud(ollama, tmp_path_factory):
    """A real pair with the stand-in for its cloud."""
    home = tmp_path_factory.mktemp("cloud")
    folder = tmp_path_factory.mktemp("fleet")
    with cloud() as url, real_pair(folder, ollama, home, home / "models", cloud=url) as pair:
        yield pair


def named(row):
    return row.name.replace(" ", "-")


@pytest.mark.parametrize("row", OUT_OF_REACH, ids=named)
def test_a_cloud_out_of_reach_is_told_as_a_simulated_ollama_tells_it(simulated_cloud, row):
    check(simulated_cloud, row)


@pytest.mark.real
@pytest.mark.parametrize("row", [*OUT_OF_REACH, *REACHED], ids=named)
def test_what_a_cloud_says_is_told_as_a_real_ollama_tells_it(real_cloud, row):
    check(real_cloud, row)
