"""A program for tests of the control plane: answers like Ollama, or misbehaves as it is told.

python program.py [--say TEXT] [--exit CODE] [--exit-after S] [--ignore-term] [--obey-term]
                  [--runner FILE] [--deaf-if FILE] [--tell FILE]
"""

import argparse
import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

_RUNNER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    deaf_if: Path

    def do_GET(self):
        if self.deaf_if.exists():
            threading.Event().wait(600)
        bodies = {
            "/api/version": {"version": "0.20.0"},
            "/api/tags": {"models": [{"name": "m:latest", "size": 1, "digest": "d"}]},
            "/api/ps": {"models": []},
        }
        self._answer(200 if self.path in bodies else 404, bodies.get(self.path, {"error": "no"}))

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["model"] == "missing":
            self._answer(404, {"error": "model 'missing' not found"})
        elif asked["model"] == "embedder" and self.path == "/api/generate":
            self._answer(400, {"error": '"embedder" does not support generate'})
        else:
            say(f"loaded {asked['model']} {self.path}")
            self._answer(200, {"model": asked["model"], "done": True})

    def _answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def told():
    """What only the program itself can know of how it was started."""
    status = Path("/proc/self/status").read_text()
    ignored = next(line for line in status.splitlines() if line.startswith("SigIgn"))
    return {
        "environment": Path("/proc/self/environ").read_text(),
        "ignored": int(ignored.split()[1], 16),
        "stdin": str(Path("/proc/self/fd/0").readlink()),
        "fds": sorted(path.name for path in Path("/proc/self/fd").iterdir() if path.exists()),
        "ids": [os.getpid(), os.getpgid(0), os.getsid(0)],
        "arguments": sys.argv[1:],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("serve", nargs="?")
    parser.add_argument("--say")
    parser.add_argument("--exit", type=int)
    parser.add_argument("--exit-after", type=float)
    parser.add_argument("--ignore-term", action="store_true")
    parser.add_argument("--obey-term", action="store_true")
    parser.add_argument("--runner", type=Path)
    parser.add_argument("--deaf-if", type=Path, default=Path("/nonexistent"))
    parser.add_argument("--tell", type=Path)
    options = parser.parse_args()
    if options.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.obey_term:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if options.tell:
        facts = told()
        options.tell.write_text(json.dumps(facts))
    if options.runner:
        runner = subprocess.Popen([sys.executable, "-I", "-S", "-c", _RUNNER])
        options.runner.write_text(str(runner.pid))
    if options.say:
        say(options.say)
    if options.exit is not None:
        os._exit(options.exit)
    if options.exit_after is not None:
        threading.Timer(options.exit_after, os._exit, [3]).start()
    host, _, port = os.environ.get("OLLAMA_HOST", "127.0.0.1:0").rpartition(":")
    Api.deaf_if = options.deaf_if
    with contextlib.suppress(KeyboardInterrupt):
        http.server.ThreadingHTTPServer((host, int(port)), Api).serve_forever()


if __name__ == "__main__":
    main()
