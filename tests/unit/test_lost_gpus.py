"""Which GPUs are lost, and whose instances are taken out of rotation for it."""

from dataclasses import replace

from fleet_fixtures import fleet
from repair_fixtures import card

from ollama_fleet.control.repair.lost import QUIET_S, LostDrains, LostGpus
from ollama_fleet.control.repair.signs import Signs
from ollama_fleet.gpu import GpuReading, GpuSample
from ollama_fleet.state import Completed, Phase

CARDS = (card(0), card(1))
FINE = (GpuReading("GPU-0", 1, 0.0), GpuReading("GPU-1", 1, 0.0))
ONE_LOST = GpuSample((FINE[0], GpuReading("GPU-1", lost="GPU 1 is lost")), "GPU 1 is lost")
UNREADABLE = GpuSample((FINE[0], GpuReading("GPU-1")), "GPU 1 cannot be read: unknown error")
GONE = GpuSample(error="the driver is not loaded", down=True)
MISMATCH = GpuSample(error="library and kernel module are of different versions")
ALL_FINE = GpuSample(FINE)


def with_faults(count, number):
    return GpuSample((FINE[0], replace(FINE[1], faults=count, last_fault=number)))


def lost(*samples, step_s=2.0):
    """Which are lost after these samples."""
    watch, found = LostGpus(), {}
    for number, sample in enumerate(samples):
        found = watch.look(CARDS, sample, number * step_s)
    return set(found)


def test_a_card_is_lost_when_the_driver_says_so_twice_in_a_row_and_back_with_its_reading():
    assert lost(ALL_FINE, ONE_LOST) == set()
    assert lost(ALL_FINE, ONE_LOST, ONE_LOST) == {"GPU-1"}
    assert lost(ONE_LOST, ALL_FINE, ONE_LOST) == set()
    assert lost(ONE_LOST, ONE_LOST, ALL_FINE) == set()


def test_a_driver_that_is_gone_or_hangs_takes_all_its_cards_along():
    assert lost(ALL_FINE, GONE, GONE) == {"GPU-0", "GPU-1"}


def test_what_cannot_be_read_for_other_reasons_is_not_lost():
    assert lost(*[UNREADABLE] * 5) == set()
    assert lost(*[MISMATCH] * 5) == set()


def test_a_card_that_reports_a_fault_is_left_out_until_it_has_been_quiet():
    reported = with_faults(1, 79)
    assert lost(ALL_FINE, reported) == {"GPU-1"}
    assert lost(reported, reported) == set(), "what was before the first look is history"
    watch = LostGpus()
    for at_s, sample in ((0.0, ALL_FINE), (2.0, reported), (QUIET_S, with_faults(2, 94))):
        watch.look(CARDS, sample, at_s)
    assert watch.look(CARDS, with_faults(2, 94), 2.0 + QUIET_S)["GPU-1"].count("Xid 94") == 1
    assert watch.look(CARDS, with_faults(2, 94), 2 * QUIET_S) == {}


def test_a_fault_without_a_number_is_told_without_one():
    """AMD's driver counts errors that it could not correct, and gives them no numbers."""
    watch = LostGpus()
    watch.look(CARDS, ALL_FINE, 0.0)
    why = watch.look(CARDS, with_faults(1, 0), 1.0)["GPU-1"]
    assert why == "GPU 1 has reported an error that it could not correct (see `dmesg`)"


class Box:
    """An instance on each card, and one on the CPU."""

    def __init__(self):
        self.state = fleet("g0", "g1", "cpu")
        self.g0, self.g1, self.cpu = self.state.instances.values()
        for instance, gpu in zip((self.g0, self.g1), CARDS, strict=True):
            instance.spec = replace(instance.spec, gpus=(gpu,))
        self.signs = Signs(self.state, lambda: 0.0)
        self.drains = LostDrains(self.state, clock=lambda: 0.0, signs=self.signs)

    def reads(self, *samples):
        for sample in samples:
            self.drains.look(sample)
        return [i.name for i in self.state.instances.values() if i.drain is not None]

    def gives(self, instance):
        """It ends an answer."""
        with self.signs, self.state.lease(instance, next(iter(instance.stored))) as lease:
            self.state.outcome(lease, Completed(200))


def test_the_instance_of_a_lost_card_is_out_of_rotation_and_no_other():
    box = Box()
    assert box.reads(ONE_LOST, ONE_LOST) == ["g1"]
    assert box.g1.drain == "GPU 1 is lost"
    assert box.reads(ALL_FINE) == []


def test_a_driver_that_is_silent_takes_out_those_that_give_nothing_and_never_the_cpu():
    box = Box()
    box.reads(ALL_FINE, GONE)
    box.gives(box.g0)
    assert box.reads(GONE) == ["g1"]
    assert box.reads(GONE) == ["g0", "g1"]
    assert box.reads(ALL_FINE) == []


def test_a_silent_driver_takes_out_all_but_the_last_a_lost_card_the_last_too():
    """Of a driver that answers late it is not known whether anything is lost."""
    box = Box()
    box.state.set_phase(box.cpu, Phase.BACKOFF, 0.0)
    assert box.reads(*[GONE] * 5) == ["g0"]
    assert box.reads(ALL_FINE) == []
    box.state.set_phase(box.g0, Phase.BACKOFF, 0.0)
    assert box.reads(ONE_LOST, ONE_LOST) == ["g1"]


def test_what_an_operator_drained_or_put_back_is_left_as_it_is():
    box = Box()
    box.state.drain(box.g1, "by the operator")
    assert box.reads(ONE_LOST, ONE_LOST, ALL_FINE) == ["g1"]
    box.state.undrain(box.g1)
    assert box.reads(ONE_LOST, ONE_LOST) == ["g1"]
    box.state.undrain(box.g1)
    assert box.reads(ONE_LOST, ONE_LOST) == [], "whoever undrains it knows better"
    assert box.reads(ALL_FINE, ONE_LOST, ONE_LOST) == ["g1"]


def test_who_comes_in_the_place_of_one_that_is_out_is_out_until_the_card_is_back():
    """A reload replaces an instance whose environment changes; it keeps why it was drained."""
    box = Box()
    box.reads(ONE_LOST, ONE_LOST)
    box.state.set_phase(box.g1, Phase.STOPPED, 0.0)
    box.state.succeed(box.g1, box.g1.spec)
    assert box.reads(ONE_LOST) == ["g1"]
    assert box.reads(ALL_FINE) == []


def test_one_that_left_while_it_was_out_and_comes_again_is_judged_anew():
    box = Box()
    box.reads(ONE_LOST, ONE_LOST)
    spec = box.g1.spec
    box.state.leave(box.g1)
    assert box.reads(ONE_LOST) == []
    box.state.join(spec)
    assert box.reads(ONE_LOST, ONE_LOST) == ["g1"]
