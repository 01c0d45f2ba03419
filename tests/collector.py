"""A collector of traces as the fleet meets one: OTLP over HTTP on a real socket, spans decoded."""

import gzip
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Collector:
    """What has come: `spans`, the `resource` of the last, the `paths` and `headers` of posts."""

    base: str = ""
    status: int = 200
    spans: list = field(default_factory=list)
    resource: dict = field(default_factory=dict)
    paths: list = field(default_factory=list)
    headers: list = field(default_factory=list)
    raw: bytes = b""

    def take(self, path, headers, body):
        self.paths.append(path)
        self.headers.append(headers)
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = attributes(resource.resource)
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def named(self, name):
        return [span for span in self.spans if span.name == name]


def attributes(told):
    """The attributes of a span or a resource as a dict."""
    kinds = {each.key: each.value.WhichOneof("value") for each in told.attributes}
    return {each.key: getattr(each.value, kinds[each.key]) for each in told.attributes}


@contextmanager
def collecting(*, status=200):
    """A collector that listens, and answers everything with a status."""
    collector = Collector(status=status)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.take(self.path, dict(self.headers), body)
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.base = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
