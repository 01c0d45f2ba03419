"""Merging of vendors, and the rim that keeps a hanging driver off the event loop."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.gpu import Gpu, GpuReading, GpuSample, GpuSource, Inventory, Vendor
from ollama_fleet.gpu.discover import GpuReader, merge_inventories, merge_samples, sources

_LONG_S = 30.0
_SHORT_S = 0.1


def _gpu(uuid, index=0):
    return Gpu(uuid=uuid, index=index, name="card", vendor=Vendor.AMD, memory_bytes=1)


class Driver:
    """A source that answers when it is let."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.threads: set[int] = set()
        self.calls = 0
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.closed = threading.Event()

    def inventory(self) -> Inventory:
        self._enter()
        return Inventory(gpus=(_gpu(self.name),), notes=(f"note of {self.name}",))

    def read(self) -> GpuSample:
        self._enter()
        return GpuSample(readings=(GpuReading(self.name),))

    def close(self) -> None:
        self.closed.set()

    def _enter(self) -> None:
        self.calls += 1
        self.threads.add(threading.get_ident())
        self.entered.set()
        assert self.open.wait(_LONG_S), "the test left the driver hanging"


class Broken(Driver):
    """A source that breaks its word not to raise."""

    def read(self) -> GpuSample:
        raise RuntimeError("bad driver")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_reader(clock):
    """Readers over drivers; at the end each driver answers and each source is seen closed."""
    made: list[tuple[GpuReader, tuple[Driver, ...]]] = []

    def make(*drivers: Driver) -> GpuReader:
        made.append((GpuReader(drivers, clock), drivers))
        return made[-1][0]

    yield make
    for reader, drivers in made:
        reader.close()
        for driver in drivers:
            driver.open.set()
            assert driver.closed.wait(_LONG_S)


def _hang(reader: GpuReader, driver: Driver) -> None:
    """Leave a call in `driver` that nobody waits for any more; it had `_LONG_S`."""
    driver.open.clear()
    driver.entered.clear()

    async def give_up_once_inside():
        waiting = asyncio.create_task(reader.read(_LONG_S))
        assert await asyncio.to_thread(driver.entered.wait, _LONG_S)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(give_up_once_inside())


def _gather(count: int, ask: Callable):
    async def ask_all():
        return await asyncio.gather(*(ask() for _ in range(count)))

    return asyncio.run(ask_all())


def test_every_vendor_is_a_source():
    """Building the list touches no driver, so that it cannot fail or block."""
    listed: tuple[GpuSource, ...] = sources()
    assert [type(source).__name__ for source in listed] == ["NvmlGpus", "AmdGpus"]


class Nothing(Driver):
    """A source without GPUs, and what it has to tell of that."""

    told = Inventory(notes=("there is no driver",), remarks=("there is no driver",))

    def inventory(self) -> Inventory:
        return self.told

    def read(self) -> GpuSample:
        return GpuSample(error="there is no driver")


def test_a_vendor_without_gpus_is_not_read_and_goes_without_saying_where_another_has_some():
    """Alone it says why there is none. One of which something is amiss is named, and read."""
    none, one = Nothing("none"), Driver("one")
    reader = GpuReader([none, one], lambda: 0.0)
    assert asyncio.run(reader.inventory(_LONG_S)).notes == ("note of one",)
    assert asyncio.run(reader.read(_LONG_S)).error == ""
    none.told = Inventory(notes=("the driver fails",))
    assert asyncio.run(reader.inventory(_LONG_S)).notes == ("the driver fails", "note of one")
    assert asyncio.run(reader.read(_LONG_S)).error == "there is no driver"
    assert merge_inventories([Nothing.told, Inventory()]).notes == ("there is no driver",)
    reader.close()


@given(st.lists(st.lists(st.integers(0, 20), unique=True).map(sorted), max_size=4))
def test_merged_indices_are_unique_and_in_order_and_the_first_vendor_keeps_its_own(vendors):
    inventories = [
        Inventory(gpus=tuple(_gpu(f"{vendor}-{index}", index) for index in indices))
        for vendor, indices in enumerate(vendors)
    ]
    merged = merge_inventories(inventories)
    indices = [gpu.index for gpu in merged.gpus]
    assert indices == sorted(set(indices))
    assert [g.uuid for g in merged.gpus] == [g.uuid for inv in inventories for g in inv.gpus]
    if vendors:
        assert indices[: len(vendors[0])] == vendors[0]


def test_merging_keeps_all_notes_and_errors_and_the_mark_of_a_simulation():
    merged = merge_inventories([Inventory(notes=("a",)), Inventory(notes=("b",), simulated=True)])
    assert merged.notes == ("a", "b")
    assert merged.simulated
    assert not merge_inventories([Inventory(), Inventory()]).simulated
    sample = merge_samples(
        [GpuSample(error="x"), GpuSample((GpuReading("u"),)), GpuSample((), "y")]
    )
    assert sample == GpuSample((GpuReading("u"),), "x; y")


def test_a_reader_without_sources_answers(make_reader):
    reader = make_reader()
    assert asyncio.run(reader.inventory(_LONG_S)) == Inventory()
    assert asyncio.run(reader.read(_LONG_S)) == GpuSample()


def test_answers_of_all_sources_come_in_their_order(make_reader):
    reader = make_reader(Driver("a"), Driver("b"))
    inventory = asyncio.run(reader.inventory(_LONG_S))
    assert [(gpu.uuid, gpu.index) for gpu in inventory.gpus] == [("a", 0), ("b", 1)]
    assert inventory.notes == ("note of a", "note of b")
    sample = asyncio.run(reader.read(_LONG_S))
    assert sample == GpuSample((GpuReading("a"), GpuReading("b")))


def test_a_source_is_only_ever_called_on_its_own_thread(make_reader):
    """Also from several event loops, one after the other, and many calls at once."""
    driver = Driver("a")
    reader = make_reader(driver)
    assert len(_gather(20, lambda: reader.read(_LONG_S))) == 20
    asyncio.run(reader.inventory(_LONG_S))
    assert len(driver.threads - {threading.get_ident()}) == len(driver.threads) == 1
    assert driver.calls == 21


def test_a_call_is_waited_for_no_longer_than_its_timeout(make_reader):
    driver = Driver("a")
    driver.open.clear()
    reader = make_reader(driver)
    assert asyncio.run(reader.read(_SHORT_S)) == GpuSample(
        error="the GPU driver has not answered for 0.1s (`dmesg` may say why)", down=True
    )


def test_a_hanging_source_costs_its_own_share_only(make_reader, clock):
    hanging = Driver("a")
    reader = make_reader(hanging, Driver("b"))
    _hang(reader, hanging)
    clock.now_s = _LONG_S
    sample = asyncio.run(reader.read(_LONG_S))
    assert sample.readings == (GpuReading("b"),)
    assert "has not answered for 30s" in sample.error


def test_while_a_call_is_overdue_no_other_is_made_and_the_silence_is_told(make_reader, clock):
    """The call in progress is the only one, however often and however patiently one asks."""
    driver = Driver("a")
    reader = make_reader(driver)
    _hang(reader, driver)
    clock.now_s = 90.0
    answers = _gather(50, lambda: reader.read(_LONG_S))
    assert {answer.error.split(" (")[0] for answer in answers} == {
        "the GPU driver has not answered for 1m30s"
    }
    (note,) = asyncio.run(reader.inventory(_LONG_S)).notes
    assert "1m30s" in note
    assert driver.calls == 1


def test_readings_come_back_when_the_call_returns(make_reader):
    """A call given up while it waited in the queue is not made any more."""
    driver = Driver("a")
    reader = make_reader(driver)
    _hang(reader, driver)
    given_up = _gather(5, lambda: reader.read(_SHORT_S))
    assert all(answer.error for answer in given_up)
    driver.open.set()
    assert asyncio.run(reader.read(_LONG_S)) == GpuSample((GpuReading("a"),))
    assert driver.calls == 2


def test_a_source_that_raises_is_an_error_and_is_asked_again(make_reader):
    reader = make_reader(Broken("a"))
    for _ in range(2):
        sample = asyncio.run(reader.read(_LONG_S))
        assert sample.error == "the GPU driver failed: RuntimeError: bad driver"
    assert [gpu.uuid for gpu in asyncio.run(reader.inventory(_LONG_S)).gpus] == ["a"]


def test_closing_does_not_wait_for_a_hanging_source(make_reader):
    """The source is closed by its own thread, after the call; a closed reader says it is."""
    driver = Driver("a")
    reader = make_reader(driver)
    _hang(reader, driver)
    reader.close()
    reader.close()
    assert not driver.closed.is_set()
    assert asyncio.run(reader.read(_LONG_S)).error == "the GPU reader is closed"
    driver.open.set()
    assert driver.closed.wait(_LONG_S)
