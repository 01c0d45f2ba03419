"""When the answers to a row are as they should be."""

from compare import answers, differences, kinds
from known_differences import MEANT
from request_table import Row


class Differs(AssertionError):
    """What the router answered is not what one Ollama answers."""


def check(pair, row: Row):
    """Raise Differs unless both answer the same; the one Ollama as the table says it does."""
    straight, routed = pair.ask(row)
    last = answers(straight, row.methods)[-1]
    assert last.status == row.status, "the table is wrong about the one Ollama"
    kind = last.header(b"content-type") or b""
    assert row.stream == kind.startswith((b"application/x-ndjson", b"text/event-stream"))
    assert row.says in last.body, "the table is wrong about the one Ollama's words"
    found = differences(straight, routed, row.methods, deterministic=row.deterministic)
    if kinds(found) != MEANT.get(row.name, frozenset()):
        raise Differs("\n".join(found) or "nothing differs, though it was meant to")
