"""`fleet logs`: how loud a line is, by whatever has written it, and which lines are wanted."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.cli import run
from ollama_fleet.cli.loglevels import LEVELS, Selection, level_of
from ollama_fleet.errors import Exit

TIME = b"time=2026-11-21T08:00:01.500Z"


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (TIME + b" level=INFO source=routes.go:1 msg=x", "info"),
        (TIME + b" level=WARN source=routes.go:1 msg=x", "warning"),
        (TIME + b" level=ERROR msg=x", "error"),
        (TIME + b" level=DEBUG msg=x", "debug"),
        (TIME + b" level=TRACE msg=x", "debug"),
        (TIME + b" level=DEBUG-4 msg=x", "debug"),
        (b'{"ts": "2026-11-21T08:00:01.500Z", "level": "warning", "event": "x"}', "warning"),
        (b"2026-11-21 08:00:01 warning is hot  instance=gpu0", "warning"),
        (b"2026-11-21 08:00:01 Loaded in 3 s", "info"),
        (b'[GIN] 2026/11/21 - 08:00:01 | 200 | 1.2s | 127.0.0.1 | POST "/api/chat"', "info"),
        (b'[GIN] 2026/11/21 - 08:00:01 | 404 | 1.2s | 127.0.0.1 | POST "/api/chat"', "warning"),
        (b'[GIN] 2026/11/21 - 08:00:01 | 500 | 1.2s | 127.0.0.1 | POST "/api/chat"', "error"),
        (b"[GIN-debug] HEAD / --> x", "debug"),
        (b"[GIN-debug] [WARNING] Running in debug mode", "warning"),
        (b"0.00.041.012 W llama_context: n_ctx_per_seq < n_ctx_train", "warning"),
        (b"panic: runtime error: index out of range", "error"),
        (b"fatal error: all goroutines are asleep", "error"),
        (b"SIGSEGV: segmentation violation", "error"),
        (b"CUDA error: out of memory", "error"),
        (b"Error: listen tcp 127.0.0.1:11434: bind: address already in use", "error"),
        (b"ggml/src/ggml.c:1: GGML_ASSERT(x) failed", "error"),
        (b"[fleet] start: ollama serve", "info"),
        (b"[fleet] 12 bytes of this log were lost: No space left on device", "warning"),
        (b"llama_model_loader: - kv 0: general.architecture str = llama", None),
    ],
)
def test_the_level_of_a_line_is_known_in_each_form(line, level):
    """Ollama's lines, gin's, llama.cpp's, Go's own and the fleet's each tell it their way."""
    assert level_of(line) == level


@given(st.binary())
def test_whatever_the_bytes_a_line_has_one_level_or_none(line):
    """No line makes reading its level fail."""
    assert level_of(line) in (None, *LEVELS)


def test_the_traces_of_a_crash_are_as_loud_as_the_crash():
    """Until that log's next line that tells its level, and in no other log."""
    told = Selection("debug", b"")(
        [
            ("a", b"loading"),
            ("a", b"panic: x"),
            ("b", b"loading"),
            ("a", b"goroutine 1 [running]:"),
            ("a", TIME + b" level=INFO msg=again"),
            ("a", b"loading"),
        ]
    )
    assert [level for _, level, _ in told] == ["info", "error", "info", "error", "info", "info"]


@given(st.sampled_from(LEVELS), st.lists(st.sampled_from(LEVELS)))
def test_what_is_below_the_level_asked_for_is_left_out(least, levels):
    """And nothing else is."""
    lines = [("a", b"%b level=%b msg=x" % (TIME, level.encode())) for level in levels]
    chosen = [level for _, level, _ in Selection(least, b"")(lines)]
    assert chosen == [level for level in levels if LEVELS.index(level) >= LEVELS.index(least)]


def _log(tmp_path, monkeypatch, content):
    monkeypatch.setenv("FLEET_STATE_DIR", str(tmp_path))
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "gpu0.log").write_bytes(content)


def test_a_program_is_told_instance_level_and_time_of_each_line(tmp_path, monkeypatch, capfdbinary):
    """One JSON object per line, the line itself as it is in it."""
    _log(tmp_path, monkeypatch, TIME + b" level=WARN msg=x\nplain \xff\n")
    assert run(["logs", "-o", "json"]) == Exit.OK
    first, second = map(json.loads, capfdbinary.readouterr().out.splitlines())
    assert (first["instance"], first["level"]) == ("gpu0", "warning")
    assert first["ts"] == "2026-11-21T08:00:01.500+00:00"
    assert (second["ts"], second["level"], second["line"]) == (None, "info", "plain �")


def test_lines_are_chosen_by_level_and_by_text(tmp_path, monkeypatch, capfdbinary):
    """`--level` and `--grep` hold together."""
    lines = [TIME + b" level=%b msg=%b" % pair for pair in ((b"INFO", b"r1"), (b"ERROR", b"r1"))]
    other = TIME + b" level=ERROR msg=r2"
    _log(tmp_path, monkeypatch, b"\n".join([*lines, other, b""]))
    assert run(["logs", "--level", "warning", "--grep", "r1"]) == Exit.OK
    assert capfdbinary.readouterr().out == lines[1] + b"\n"
