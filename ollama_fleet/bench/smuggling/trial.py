"""One case, tried: a client that writes it, reads the answers, and holds them against the law."""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass, field

from ollama_fleet.bench.smuggling.cases import Case
from ollama_fleet.bench.smuggling.origin import Origin
from ollama_fleet.bench.smuggling.reading import Meaning, Rest, read
from ollama_fleet.bench.smuggling.verdict import Answer, Outcome, desync

PATIENCE_S = 20.0
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


@dataclass(slots=True)
class Tally:
    """What has come of the cases so far. A case is refused if its last answer ended it early."""

    cases: int = 0
    requests: int = 0
    relayed: int = 0
    answered_whole: int = 0
    refused: int = 0
    cut_short: int = 0
    desyncs: list[str] = field(default_factory=list)

    def note(self, meaning: Meaning, outcome: Outcome) -> None:
        """Count one case."""
        self.cases += 1
        self.requests += len(meaning.messages)
        self.relayed += len(outcome.seen)
        whole = len(outcome.answers) == len(meaning.messages)
        if whole and meaning.rest is not Rest.FAULT:
            self.answered_whole += 1
        elif outcome.answers and outcome.answers[-1].status >= 400:
            self.refused += 1
        else:
            self.cut_short += 1


async def try_case(port: int, origin: Origin, case: Case, tally: Tally) -> str:
    """Send a case to the router on `port`; what was wrong, "" if nothing. Counts it."""
    origin.forget()
    meaning = read(case.data)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        answers, closed = await _talk(reader, writer, case, meaning)
    finally:
        writer.transport.abort()
    junk = (*origin.junk, *origin.parts)
    outcome = Outcome(tuple(answers), closed, tuple(origin.seen), junk)
    tally.note(meaning, outcome)
    wrong = desync(meaning, outcome)
    if wrong:
        tally.desyncs.append(f"{case.trick}: {wrong}: {case.writes!r}")
    return wrong


async def _talk(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, case: Case, meaning: Meaning
) -> tuple[list[Answer], bool]:
    """The answers, and whether the router closed before it had answered everything."""
    methods = [message.method for message in meaning.messages]
    answers: list[Answer] = []
    with suppress(ConnectionError):  # it is closed: what was said before can still be read
        for piece in case.writes:
            writer.write(piece)
            await asyncio.sleep(0)
            await writer.drain()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while len(answers) < len(methods):
                answers.append(await _answer(reader, methods[len(answers)]))
    except TimeoutError:
        return answers, False
    except (asyncio.IncompleteReadError, ConnectionError):
        return answers, True
    return answers, await _farewell(reader, writer, answers)


async def _farewell(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: list[Answer]
) -> bool:
    """Say that nothing more comes, and read what is still to be said."""
    try:
        if not writer.is_closing():
            writer.write_eof()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answers.append(await _answer(reader, b""))
    except TimeoutError:
        return False
    except (asyncio.IncompleteReadError, OSError):
        return True


async def _answer(reader: asyncio.StreamReader, method: bytes) -> Answer:
    """The next final answer. Raises IncompleteReadError where none comes."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        if status >= 200:
            break
    length = _LENGTH.search(head)
    closing = b"\r\nconnection: close" in head.lower()
    if method == b"HEAD" or status in (204, 304):
        body = b""
    elif length is not None:
        body = await reader.readexactly(int(length[1]))
    else:
        body = await reader.read()
    return Answer(status, body, closing)
