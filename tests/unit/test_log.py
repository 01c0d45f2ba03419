import io
import json
import logging
import queue

from ollama_fleet.log import BoundedHandler, JsonFormatter, logging_to


def test_lines_are_json_objects_with_their_extra_fields():
    out = io.StringIO()
    with logging_to(out, verbose=False, plain=False):
        logging.getLogger("x").info("started %s", "a", extra={"pid": 7})
        logging.getLogger("x").debug("not shown")
    (line,) = out.getvalue().splitlines()
    record = json.loads(line)
    assert record["event"] == "started a"
    assert (record["pid"], record["level"], record["logger"]) == (7, "info", "x")


def test_plain_lines_show_the_same_for_people():
    out = io.StringIO()
    with logging_to(out, verbose=True, plain=True):
        logging.getLogger("x").debug("seen", extra={"pid": 7})
    assert out.getvalue().rstrip().endswith("seen  pid=7")


def test_a_line_break_in_a_message_cannot_forge_a_record():
    record = logging.makeLogRecord({"msg": 'a\n{"event": "forged"}'})
    assert "\n" not in JsonFormatter().format(record)


def test_a_full_queue_drops_counts_and_tells():
    records: queue.Queue[logging.LogRecord] = queue.Queue(2)
    handler = BoundedHandler(records)
    for n in range(5):
        handler.enqueue(logging.makeLogRecord({"msg": str(n)}))
    assert handler.dropped == 3
    kept = [records.get_nowait().msg for _ in range(2)]
    handler.enqueue(logging.makeLogRecord({"msg": "later"}))
    told = records.get_nowait()
    assert kept == ["0", "1"]
    assert (told.dropped, records.get_nowait().msg, handler.dropped) == (3, "later", 0)
