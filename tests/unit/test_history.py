import os
import sqlite3
import stat
import sys

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_records import Clock, made

from ollama_fleet.errors import FleetError
from ollama_fleet.history import (
    Bounds,
    By,
    Ending,
    History,
    RequestRecord,
    Selection,
    Usage,
    find,
    neighbours,
    reader,
    recent,
    select,
    usage,
)
from ollama_fleet.history import file as history_file
from ollama_fleet.history.file import HistoryFile, first_within, set_aside
from ollama_fleet.history.schema import (
    APPLICATION_ID,
    COLUMNS,
    UPGRADES,
    from_row,
    to_row,
    values_of,
)
from ollama_fleet.history.totals import question
from ollama_fleet.history.writer import QUEUE_RECORDS

WIDE = Bounds(max_requests=10**9, max_bytes=2**40, keep_s=10**9)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
numbers = st.integers(0, 2**62)
seconds = st.floats(0, 1e9)
BY_TYPE = {str: texts, int: numbers, float: seconds, bool: st.booleans()}
records = st.builds(
    RequestRecord,
    **{f.name: BY_TYPE[f.type] for f in msgspec.structs.fields(RequestRecord) if f.type in BY_TYPE},
    tried=st.tuples(texts, texts),
    failures=st.tuples(texts),
    ending=st.sampled_from(Ending),
    scores=st.lists(st.tuples(texts, st.tuples(seconds, seconds))).map(tuple),
    terms=st.tuples(texts),
    energy_j=st.none() | seconds,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.db"


def keep(path, *some, bounds=WIDE, now_s=1_000.0):
    """Keep records as a fleet does that is stopped at once."""
    history = History(path, bounds, clock=Clock(), wall=Clock(now_s))
    for record in some:
        history.add(record)
    history.close()
    return history


def put(path, records):
    """Keep records without a thread."""
    file = HistoryFile(path)
    file.write(records)
    file.close()


def numbered(*numbers, **changes):
    return [made(id=f"r{n}", **changes) for n in numbers]


def ids(path, limit=10_000):
    return [int(record.id[1:]) for record in recent(path, limit)]


# -- rows --------------------------------------------------------------------------------------


def test_a_new_file_has_a_column_for_every_field_of_a_record():
    db = sqlite3.connect(":memory:")
    for step in UPGRADES:
        db.executescript(step)
    _number, *columns = (row[1] for row in db.execute("PRAGMA table_info(requests)"))
    assert columns == list(COLUMNS) == list(RequestRecord.__struct_fields__)


@given(records)
def test_a_row_gives_its_record_back(record):
    assert from_row(to_row(values_of(record))) == record


@given(records)
def test_a_row_is_what_sqlite_takes(record):
    db = sqlite3.connect(":memory:")
    marks = ", ".join("?" * len(COLUMNS))
    assert from_row(db.execute(f"SELECT {marks}", to_row(values_of(record))).fetchone()) == record


def test_what_a_client_wrote_is_cut_and_made_writable():
    """A model's name may be a book, or half of a surrogate pair."""
    kept = from_row(to_row(values_of(made(model="x" * 10_000, key="\ud800"))))
    assert kept.model == "x" * 511 + "…"
    assert kept.key == "?"


# -- the file ----------------------------------------------------------------------------------


def test_what_is_kept_is_read_newest_first(path):
    history = keep(path, *numbered(1, 2, 3))
    assert ids(path) == [3, 2, 1]
    assert ids(path, limit=2) == [3, 2]
    assert (history.written, history.dropped) == (3, 0)


def test_requests_can_be_asked_for_since_a_moment(path):
    keep(path, made(id="r1", arrived_s=10.0), made(id="r2", arrived_s=20.0))
    assert [r.id for r in recent(path, 10, since_s=20.0)] == ["r2"]


def test_a_request_is_found_by_its_id_the_last_of_several(path):
    keep(path, made(id="r1", status=200), made(id="r1", status=503), made(id="r2"))
    found = find(path, "r1")
    assert found is not None
    assert found.status == 503
    assert find(path, "r3") is None


def test_before_there_is_a_file_there_are_no_requests(path):
    assert recent(path, 10) == ()
    assert find(path, "r1") is None


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(path):
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(FleetError, match="cannot be read") as raised:
        recent(path, 10)
    assert raised.value.hint == str(path)


def test_what_was_kept_before_a_restart_stays(path):
    keep(path, *numbered(1))
    keep(path, *numbered(2))
    assert ids(path) == [2, 1]


@pytest.mark.parametrize("before", [None, 0o644])
def test_the_file_is_for_its_owner_alone(path, before):
    if before is not None:
        path.touch(before)
    file = HistoryFile(path)
    file.write([made()])
    parts = [path, *(path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-shm"))]
    assert {stat.S_IMODE(part.stat().st_mode) for part in parts} == {0o600}
    file.close()


def test_a_batch_is_written_whole_or_not_at_all(path):
    file = HistoryFile(path)
    with pytest.raises(OverflowError):
        file.write([made(), made(output_tokens=-(2**80))])
    file.write([made(id="r2")])
    file.close()
    assert ids(path) == [2]


# -- what is asked of it -----------------------------------------------------------------------

few = st.sampled_from(["", "a", "b"])
moments = st.integers(0, 5).map(float)
asked = st.builds(
    Selection,
    model=st.sampled_from(["", "M:1b", "m:2b"]),
    instance=few,
    tenant=few,
    since_s=moments,
    until_s=moments,
    slow_s=moments,
    errors=st.booleans(),
)
kept = st.builds(
    made,
    key=st.sampled_from([f"registry.ollama.ai/library/{name}" for name in ("m:1b", "m:2b")]),
    instance=few,
    tenant=few,
    arrived_s=moments,
    total_s=moments,
    status=st.sampled_from([0, 200, 404, 503]),
    ending=st.sampled_from(Ending),
    inference=st.booleans(),
    output_tokens=st.integers(0, 9),
    gpu_s=moments,
    energy_j=st.none() | moments,
)


def is_wanted(record, wanted):
    """The same choice, said once more."""
    failed = record.status >= 400 or record.ending in {Ending.BROKEN, Ending.INCOMPLETE}
    return (
        (not wanted.model or record.key.endswith(f"/{wanted.model.lower()}"))
        and wanted.instance in {"", record.instance}
        and wanted.tenant in {"", record.tenant}
        and record.arrived_s >= wanted.since_s
        and (not wanted.until_s or record.arrived_s < wanted.until_s)
        and record.total_s >= wanted.slow_s
        and (failed or not wanted.errors)
    )


@settings(max_examples=40)
@given(st.lists(kept, max_size=20), asked, st.integers(1, 20))
def test_of_all_requests_those_are_chosen_that_are_wanted(tmp_path_factory, some, wanted, limit):
    """The last to arrive first; of those that arrived at once the last that ended."""
    path = tmp_path_factory.mktemp("chosen") / "history.db"
    put(path, some)
    found = [record for record in reversed(some) if is_wanted(record, wanted)]
    newest = sorted(found, key=lambda record: -record.arrived_s)
    assert list(select(path, wanted, limit)) == newest[:limit]


@settings(max_examples=40)
@given(st.lists(kept, max_size=20), asked, st.sets(st.sampled_from(By)))
def test_totals_are_those_of_the_same_choice(tmp_path_factory, some, wanted, by):
    path = tmp_path_factory.mktemp("totals") / "history.db"
    put(path, some)
    ran = [record for record in some if is_wanted(record, wanted) and record.inference]
    found = usage(path, wanted, tuple(by))
    assert sum(one.requests for one in found) == len(ran)
    assert sum(one.output_tokens for one in found) == sum(r.output_tokens for r in ran)
    assert sum(one.gpu_s for one in found) == pytest.approx(sum(r.gpu_s for r in ran))
    assert sum(one.measured for one in found) == sum(r.energy_j is not None for r in ran)
    joules = sum(r.energy_j or 0.0 for r in ran)
    assert sum(one.energy_wh or 0.0 for one in found) == pytest.approx(joules / 3600)
    names = {(one.tenant, one.model, one.instance) for one in found}
    apart = {
        (
            r.tenant if By.TENANT in by else "",
            r.key if By.MODEL in by else "",
            r.instance if By.INSTANCE in by else "",
        )
        for r in ran
    }
    assert names == apart
    assert len(found) == len(names)


def test_energy_that_nobody_measured_is_not_none_at_all(path):
    keep(path, made(energy_j=None), made(energy_j=7_200.0, gpu_s=2.0, output_tokens=5))
    assert usage(path, Selection(), ()) == (
        Usage(
            requests=2,
            errors=0,
            prompt_tokens=600,
            output_tokens=25,
            gpu_s=2.0,
            energy_wh=2.0,
            measured=1,
        ),
    )
    keep(path, made(tenant="t", energy_j=None))
    (unmeasured,) = usage(path, Selection(tenant="t"), ())
    assert unmeasured.energy_wh is None


def test_the_beginning_of_an_id_is_enough_where_no_other_begins_so(path):
    keep(path, made(id="ab1"), made(id="ab2"), made(id="c%_", total_s=99.0), made(id="ab2"))
    assert find(path, "ab1").id == "ab1"
    assert find(path, "c").id == "c%_"
    assert find(path, "%") is None
    with pytest.raises(FleetError, match="several requests begin with ab") as raised:
        find(path, "ab")
    assert raised.value.hint == "there are ab1, ab2"
    assert find(path, "last").id == "ab2"
    assert find(path, "slowest").id == "c%_"


def test_no_client_decides_which_request_is_the_last_or_the_slowest(path):
    keep(path, made(id="last"), made(id="slowest"), made(id="s", total_s=99.0), made(id="r"))
    assert find(path, "last").id == "r"
    assert find(path, "slowest").id == "s"


def test_a_score_beyond_all_figures_is_kept_as_the_largest(path):
    keep(path, made(scores=(("null", (float("inf"), 1.0)),)))
    (record,) = recent(path, 1)
    assert record.scores == (("null", (sys.float_info.max, 1.0)),)


def test_a_row_that_is_no_record_is_an_error_that_says_so(path):
    keep(path, made())
    db = sqlite3.connect(path)
    db.execute("UPDATE requests SET scores = 'nope'")
    db.commit()
    db.close()
    with pytest.raises(FleetError, match="the history cannot be read"):
        recent(path, 1)


def test_a_figure_beyond_sqlites_costs_no_other_record(path):
    keep(path, made(id="a", request_bytes=2**64 - 1), made(id="b"))
    assert [(r.id, r.request_bytes) for r in recent(path, 9)] == [("b", 1_500), ("a", 2**63 - 1)]


def test_a_request_is_compared_with_those_for_its_model_before_it_and_behind(path):
    some = [made(id=f"r{n}", arrived_s=float(n)) for n in range(600)]
    keep(path, *some, made(id="x", key="other", arrived_s=300.0))
    found = neighbours(path, some[300])
    assert {record.id for record in found} == {f"r{n}" for n in range(100, 502)} - {"r300"}


def test_requests_for_a_rare_model_are_found_however_far_away(path, monkeypatch):
    monkeypatch.setattr(reader, "_NEAR", 5)
    rare = [made(id=f"x{n}", key="rare", arrived_s=100.0 * n) for n in range(3)]
    keep(path, *(made(id=f"r{n}", arrived_s=float(n)) for n in range(300)), *rare)
    assert {record.id for record in neighbours(path, rare[1])} == {"x0", "x2"}


def test_no_question_reads_rows_that_are_not_wanted(path):
    """Else a million of them would take seconds: the plans name an index, and scan no table."""
    HistoryFile(path).close()
    db = sqlite3.connect(path)
    for wanted in (Selection(), Selection(since_s=1.0), Selection(model="m", errors=True)):
        where, values = wanted.conditions()
        query = f"SELECT number FROM requests INDEXED BY {wanted.index} WHERE {where}"
        (plan,) = db.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall()
        assert "COVERING INDEX" in plan[3], plan
    (plan, *more) = db.execute(f"EXPLAIN QUERY PLAN {question(Selection())[0]}").fetchall()
    assert "COVERING INDEX requests_by_tenant" in plan[3]
    assert not more, "nothing is sorted"
    db.close()


# -- its bounds --------------------------------------------------------------------------------


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(1, 10**6))
def test_a_count_keeps_the_newest(oldest, more, count):
    newest = oldest + more
    first = first_within(Bounds(count, 2**40, 1.0), oldest, newest, 4096)
    assert newest - max(first, oldest) + 1 == min(count, more + 1)


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(1, 2**40), st.integers(0, 2**41))
def test_a_size_keeps_the_share_that_fits(oldest, more, max_bytes, used_bytes):
    newest = oldest + more
    first = first_within(Bounds(2**40, max_bytes, 1.0), oldest, newest, used_bytes)
    kept = newest - first + 1
    assert (
        kept == more + 1 if used_bytes <= max_bytes else kept <= (more + 1) * max_bytes / used_bytes
    )


def test_beyond_a_count_the_oldest_go(path):
    keep(path, *numbered(*range(10)), bounds=Bounds(3, 2**40, 1e9))
    assert ids(path) == [9, 8, 7]


def test_what_is_too_old_goes(path):
    old, young = numbered(1, 2, arrived_s=900.0), numbered(3, arrived_s=950.0)
    keep(path, *old, *young, bounds=Bounds(10**9, 2**40, 60.0), now_s=1_000.0)
    assert ids(path) == [3]


def test_what_is_too_old_goes_although_nothing_comes(path):
    keep(path, *numbered(1, arrived_s=900.0), now_s=900.0)
    keep(path, bounds=Bounds(10**9, 2**40, 60.0), now_s=1_000.0)
    assert ids(path) == []


def test_a_file_stays_within_its_size(path):
    """It is also made smaller, when it has become too large for a new bound."""
    bounds = Bounds(10**9, 256 * 1024, 1e9)
    file = HistoryFile(path)
    for start in range(0, 3_000, 500):
        file.write(numbered(*range(start, start + 500)))
    for _ in range(20):
        file.prune(bounds, 1_000.0, 1_000)
    file.close()
    assert 128 * 1024 < path.stat().st_size <= bounds.max_bytes
    kept = ids(path)
    assert kept == list(range(2_999, 2_999 - len(kept), -1))


def test_one_prune_removes_no_more_than_it_may(path):
    file = HistoryFile(path)
    file.write(numbered(*range(100)))
    removed = [file.prune(Bounds(10, 2**40, 1e9), 0.0, 40) for _ in range(4)]
    file.close()
    assert removed == [40, 40, 10, 0]


# -- what is not ours, not whole, not of this version ------------------------------------------


def another_programs(path):
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE cats (name)")
    db.close()


def a_newer_ones(path):
    HistoryFile(path).close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {len(UPGRADES) + 1}")
    db.close()


def garbage(path):
    path.write_bytes(os.urandom(10_000))


@pytest.mark.parametrize("spoil", [another_programs, a_newer_ones, garbage])
def test_a_file_that_cannot_be_used_is_set_aside_and_said(path, spoil, caplog):
    """And a new one is begun, which loses nothing."""
    spoil(path)
    before = path.read_bytes()
    keep(path, *numbered(1))
    assert ids(path) == [1]
    assert path.with_name("history.db.aside").read_bytes() == before
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_file_that_is_damaged_while_it_is_written_to_is_set_aside(path):
    file = HistoryFile(path)
    file.write(numbered(*range(2_000)))
    file.close()
    with path.open("r+b") as raw:
        raw.seek(8_192)
        raw.write(b"\xff" * (path.stat().st_size - 8_192))
    keep(path, *numbered(1))
    assert ids(path) == [1]
    assert path.with_name("history.db.aside").exists()


def test_only_the_last_file_set_aside_is_kept(path):
    for text in ("first", "second"):
        path.write_text(text)
        aside = set_aside(path)
    assert aside.read_text() == "second"
    assert sorted(p.name for p in path.parent.iterdir()) == [aside.name]


STEP = "ALTER TABLE requests ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'"


def test_an_older_file_is_brought_up_to_date(path, monkeypatch):
    keep(path, *numbered(1))
    monkeypatch.setattr(history_file, "UPGRADES", (*UPGRADES, STEP))
    monkeypatch.setattr(history_file, "VERSION", len(UPGRADES) + 1)
    HistoryFile(path).close()
    db = sqlite3.connect(path)
    assert db.execute("SELECT id, mood FROM requests").fetchall() == [("r1", "calm")]
    assert db.execute("PRAGMA user_version").fetchone() == (len(UPGRADES) + 1,)
    db.close()


def test_a_file_with_scores_in_the_first_form_is_read_without_them(path):
    db = sqlite3.connect(path)
    first = f"{UPGRADES[0]}; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1"
    db.executescript(first)
    had = {row[1] for row in db.execute("PRAGMA table_info(requests)")}
    values = zip(COLUMNS, to_row(values_of(made())), strict=True)
    fields = {name: value for name, value in values if name in had}
    fields["scores"] = '[["gpu0", [1.0, [["in_flight", 1.0]]]]]'
    marks = ", ".join("?" * len(fields))
    insert = f"INSERT INTO requests ({', '.join(fields)}) VALUES ({marks})"
    with db:
        db.execute(insert, tuple(fields.values()))
    db.close()
    HistoryFile(path).close()
    assert recent(path, 1) == (made(scores=(), terms=()),)


def test_no_reader_ever_sees_a_file_between_two_versions(path, monkeypatch):
    """Whoever asks while a file is made finds none yet, or a whole one."""
    seen, connect = set(), sqlite3.connect

    def look(statement):
        if "COMMIT" not in statement.upper():
            try:
                seen.add(len(recent(path, 1)))
            except FleetError as error:
                seen.add(str(error))

    def traced(*arguments, **options):
        db = connect(*arguments, **options)
        if "isolation_level" in options:  # the writer's
            db.set_trace_callback(look)
        return db

    monkeypatch.setattr(sqlite3, "connect", traced)
    HistoryFile(path).close()
    assert seen == {0}


def test_a_file_of_the_second_version_is_brought_up_to_date(path):
    db = sqlite3.connect(path)
    second = f"{UPGRADES[0]}; {UPGRADES[1]}; PRAGMA application_id = {APPLICATION_ID}"
    db.executescript(f"{second}; PRAGMA user_version = 2")
    had = {row[1] for row in db.execute("PRAGMA table_info(requests)")}
    values = zip(COLUMNS, to_row(values_of(made())), strict=True)
    fields = {name: value for name, value in values if name in had}
    with db:
        marks = ", ".join("?" * len(fields))
        insert = f"INSERT INTO requests ({', '.join(fields)}) VALUES ({marks})"
        db.execute(insert, tuple(fields.values()))
    db.close()
    with pytest.raises(FleetError, match="another version") as raised:
        recent(path, 1)
    assert "fleet up" in raised.value.hint
    HistoryFile(path).close()
    assert recent(path, 1) == select(path, Selection(), 1) == (made(),)


def test_a_step_that_fails_changes_nothing(path, monkeypatch):
    keep(path, *numbered(1))
    monkeypatch.setattr(history_file, "UPGRADES", (*UPGRADES, f"{STEP}; SELECT nonsense"))
    monkeypatch.setattr(history_file, "VERSION", len(UPGRADES) + 1)
    with pytest.raises(sqlite3.OperationalError, match="nonsense"):
        HistoryFile(path)
    monkeypatch.undo()
    assert ids(path) == [1]


def test_a_directory_in_its_place_is_the_disks_trouble_not_a_damaged_file(path):
    path.mkdir()
    with pytest.raises((OSError, sqlite3.OperationalError)):
        HistoryFile(path)


# -- the writer --------------------------------------------------------------------------------


def test_more_than_can_be_written_is_dropped_the_newest_first_and_counted(path):
    history = History(path, WIDE, clock=Clock(), wall=Clock())
    added = 3 * QUEUE_RECORDS
    for record in numbered(*range(added)):
        history.add(record)
    history.close()
    assert history.dropped > 0
    assert history.written + history.dropped == added
    kept = ids(path, limit=added)
    assert len(kept) == history.written
    assert set(range(QUEUE_RECORDS // 2)) <= set(kept)


def test_what_waits_is_written_before_the_end(path):
    keep(path, *numbered(*range(2_000)))
    assert ids(path) == list(range(1_999, -1, -1))
