"""Learning: what state tells of requests is what the estimates are told, and nothing else."""

from dataclasses import replace

import pytest
from fleet_fixtures import asks, fleet, hold, resident

from ollama_fleet.errors import StreamBroken
from ollama_fleet.estimate import Prefixes
from ollama_fleet.estimate.limits import Limits
from ollama_fleet.names import canonical
from ollama_fleet.router.learning import TELLING, WATCHED, Learning
from ollama_fleet.state import Completed, Phase, Residency, StoredModel, Want, Work

KEY = canonical("m")


class Notes:
    """Stands for estimates: keeps what it is told."""

    def __init__(self):
        self.learned, self.sightings, self.loads, self.sizes = [], [], [], {}
        self.limits = Limits()

    def learn(self, seen):
        self.learned.append(seen)

    def saw(self, instance, weights, **more):
        self.sightings.append((instance, weights, more))

    def loaded(self, instance, size_bytes, load_s, *, from_memory):
        self.loads.append((instance, size_bytes, load_s, from_memory))

    def load_s(self, _instance, _size_bytes, *, from_memory):
        return 2.0 if from_memory else 9.0

    def weigh(self, weights, size_bytes):
        self.sizes[weights] = size_bytes


class School:
    def __init__(self, *names, **options):
        self.now_s = 0.0
        self.state = fleet(*names, slots=4)
        self.notes, self.prefixes = Notes(), Prefixes()
        self.learning = Learning(
            self.state, self.notes, self.prefixes, clock=lambda: self.now_s, **options
        )

    def hold(self, name, *models):
        self.state.set_resident(self.state.instances[name], [resident(model) for model in models])

    def grant(self, name, key=KEY, **work):
        lease = self.state.lease(self.state.instances[name], key)
        self.state.began(lease, Work(**work), self.now_s)
        return lease

    def begin(self, name, key=KEY, **work):
        lease = self.grant(name, key, **work)
        self.state.sent(lease, self.now_s)
        return lease

    def end(self, lease, outcome):
        self.state.outcome(lease, outcome)
        lease.release()
        lease.served(self.now_s)


def test_answers_that_end_one_after_another_are_learned_from_together_and_once():
    """Nothing is learned until the moment comes; then all, in their order; then those after it."""
    moments = []
    school = School("a", later=moments.append)
    for counts in ([1, 2, 3], [4]):
        for tokens in counts:
            school.end(school.begin("a"), Completed(200, 1, tokens))
        assert len(moments) == 1
        assert counts[0] not in [seen.output_tokens for seen in school.notes.learned]
        moments.pop()()
    assert [seen.output_tokens for seen in school.notes.learned] == [1, 2, 3, 4]


def test_of_very_many_answers_of_a_kind_that_end_together_some_teach_evenly_spread():
    """Of another instance, model or route those that are few do, too, and each in its turn."""
    moments = []
    school = School("a", "b", later=moments.append)
    hold(school.state, school.state.instances["a"], "m", "n")
    for number in range(5 * TELLING):
        school.end(school.begin("a", route="/api/embed"), Completed(200, 100 + number))
        if number == 40:
            school.end(school.begin("a", route="/api/chat"), Completed(200, 1))
            school.end(school.begin("a", canonical("n"), route="/api/embed"), Completed(200, 2))
            school.end(school.begin("b", route="/api/embed"), Completed(200, 3))
    moments.pop()()
    told = [seen.prompt_tokens for seen in school.notes.learned]
    assert told == [*range(100, 141, 5), 1, 2, 3, *range(145, 100 + 5 * TELLING, 5)]


def test_an_answer_teaches_what_its_last_record_says_and_what_the_clock_saw():
    school = School("a")
    lease = school.begin("a", route="/api/chat", prompt_bytes=400, stream=True)
    school.now_s = 1.0
    lease.sent_s = 0.5
    school.state.progress(lease, lambda: 10, school.now_s)
    school.now_s = 3.0
    told = Completed(200, 100, 10, load_s=0.1, prefill_s=0.4, decode_s=1.9, records=11)
    school.end(lease, told)
    (seen,) = school.notes.learned
    assert (seen.instance, seen.weights, seen.key, seen.route) == ("a", "d-m", KEY, "/api/chat")
    assert (seen.prompt_tokens, seen.output_tokens, seen.prompt_bytes) == (100, 10, 400)
    assert (seen.load_s, seen.prefill_s, seen.decode_s, seen.records) == (0.1, 0.4, 1.9, 11)
    assert (seen.sent_to_first_s, seen.first_to_last_s) == (0.5, 2.0)


def test_how_busy_an_instance_was_is_the_mean_over_the_time_of_the_answer():
    school = School("a")
    school.hold("a", "m")
    lease = school.begin("a", stream=True)
    school.now_s = 1.0
    school.state.progress(lease, lambda: 1, school.now_s)
    school.now_s = 2.0
    other = school.begin("a", stream=True)
    school.now_s = 5.0
    school.end(lease, Completed(200))
    assert school.notes.learned[0].busy == pytest.approx((1 * 1 + 3 * 2) / 4)
    other.release()


@pytest.mark.parametrize("streams", [True, False])
def test_a_request_that_waits_for_its_model_is_not_counted_as_busy(streams):
    school = School("a")
    hold(school.state, school.state.instances["a"], "m", "n")
    school.hold("a", "m")
    waits = school.grant("a", canonical("n"), stream=True)
    lease = school.begin("a", stream=streams)
    if streams:
        school.state.progress(lease, lambda: 1, school.now_s)
    school.now_s = 4.0
    school.hold("a", "m", "n")
    school.state.sent(waits, school.now_s)
    school.now_s = 8.0
    school.end(lease, Completed(200, 10, 10))
    assert school.notes.learned[0].busy == pytest.approx((4 * 1 + 4 * 2) / 8)


def test_a_request_that_has_its_model_loaded_itself_is_counted_from_its_first_byte():
    school = School("a")
    lease = school.begin("a", stream=True)
    assert school.state.instances["a"].labour.slots == 0
    school.now_s = 5.0
    school.state.progress(lease, lambda: 1, school.now_s)
    assert school.state.instances["a"].labour.slots == 1
    school.now_s = 6.0
    school.end(lease, Completed(200, 10, 10))
    labour = school.state.instances["a"].labour
    assert (labour.slots, labour.slot_s(9.0)) == (0, 1.0)


@pytest.mark.parametrize("outcome", [StreamBroken("cut"), Completed(404), Completed(500)])
def test_what_failed_teaches_nothing(outcome):
    school = School("a")
    school.end(school.begin("a"), outcome)
    assert school.notes.learned == []


def test_tokens_seen_passing_are_told_before_the_answers_end():
    school = School("a")
    counts = [10, 20]
    for at in range(2):
        lease = school.begin("a", stream=True)
        school.state.progress(lease, lambda at=at: counts[at], school.now_s)
    school.learning.look()
    assert school.notes.sightings == [], "one look shows no speed"
    school.now_s, counts[:] = 0.5, [15, 30]
    school.learning.look()
    assert school.notes.sightings == [("a", "d-m", {"busy": 2, "tokens": 15, "stream_s": 1.0})]


def test_of_very_many_streams_some_are_watched_the_same_each_time():
    school = School("a")
    for _ in range(WATCHED):
        school.begin("a", stream=False)  # of these nothing is seen before their end
    for number in range(3 * WATCHED):
        lease = school.begin("a", stream=True)
        speed = 10 if number < WATCHED else 1000
        school.state.progress(lease, lambda speed=speed: round(speed * school.now_s), school.now_s)
    school.learning.look()
    school.now_s = 0.5
    school.learning.look()
    told = {"busy": 3 * WATCHED, "tokens": 5 * WATCHED, "stream_s": 0.5 * WATCHED}
    assert school.notes.sightings == [("a", "d-m", told)]


def test_the_share_of_a_prompt_that_the_cache_had_is_told():
    school = School("a")
    school.end(school.begin("a", prompt_bytes=1024, prefix=(1, 2)), Completed(200, 100, 5))
    school.end(school.begin("a", prompt_bytes=2048, prefix=(1, 2, 3, 4)), Completed(200, 200, 5))
    school.end(school.begin("a", prompt_bytes=100), Completed(200, 20, 5))
    assert [seen.cached_tokens for seen in school.notes.learned] == [0, 100, None]


@pytest.mark.parametrize("phase", [Phase.BACKOFF, Phase.STARTING])
def test_a_process_that_ends_takes_its_caches_with_it(phase):
    school = School("a")
    school.end(school.begin("a", prompt_bytes=1024, prefix=(1, 2)), Completed(200, 100, 5))
    school.state.set_phase(school.state.instances["a"], phase, 0.0)
    assert school.prefixes.cached_blocks("a", "d-m", (1, 2)) == 0


@pytest.mark.parametrize("near", [False, True])
def test_a_load_is_timed_from_disk_and_from_memory_apart(near):
    school = School("a", "b")
    state, a, b = school.state, *school.state.instances.values()
    state.on_want.append(lambda _want: None)
    if near:
        state.set_resident(b, [resident("m")])
    want = Want(a, Residency("d-m"), "m", "/api/generate", ())
    state.want(want)
    school.now_s = 8.0
    state.loaded(want)
    assert school.notes.loads == [("a", 1, 8.0, near)]


@pytest.mark.parametrize("others", ["busy", "loading"])
@pytest.mark.parametrize(("took_s", "told"), [(30.0, []), (5.0, [("a", 1, 5.0, False)])])
def test_a_load_that_waited_for_others_tells_only_that_it_took_no_longer(others, took_s, told):
    """Ollama waits until a model that has to go is idle, and loads one at a time."""
    school = School("a")
    state, a = school.state, school.state.instances["a"]
    hold(state, a, "m", "n")
    state.on_want.append(lambda _want: None)
    if others == "busy":
        school.hold("a", "n")
        school.begin("a", canonical("n"))
    else:
        state.want(Want(a, Residency("d-n"), "n", "/api/generate", ()))
    want = Want(a, Residency("d-m"), "m", "/api/generate", ())
    state.want(want)
    school.now_s = took_s
    state.loaded(want)
    assert school.notes.loads == told


def test_the_sizes_of_models_are_told_as_they_become_known():
    school = School("a")
    assert school.notes.sizes == {"d-m": 1}
    hold(school.state, school.state.instances["a"], "m", "n")
    assert school.notes.sizes == {"d-m": 1, "d-n": 1}
    assert asks("n").key == canonical("n")


def serve(school, name, count, *, seconds_each, family="llama"):
    """Serve so many requests, as many at once as the instance is given, each as fast as alone."""
    instance = school.state.instances[name]
    row = {"details": {"family": family}}
    school.state.set_stored(instance, [StoredModel(KEY, "m", "d-m", 1, row)])
    school.hold(name, "m")
    running = []
    for _ in range(count):
        while len(running) < instance.slots_of("d-m"):
            running.append(school.begin(name))
            school.now_s += seconds_each / 100
        school.now_s += seconds_each / len(running)
        school.end(running.pop(0), Completed(200, 10, 50))
    for lease in running:
        lease.release()
    return instance.slots_of("d-m")


def external(school, most_slots):
    """Make its only instance one of which nobody has said how many slots it has."""
    (name,) = school.state.instances
    instance = school.state.instances[name]
    instance.spec = replace(instance.spec, slots=1, most_slots=most_slots)


@pytest.mark.parametrize(
    ("most_slots", "family", "slots"),
    [(64, "llama", range(5, 65)), (3, "llama", [3]), (3, "bert", [3]), (64, "mllama", [1])],
)
def test_an_instance_that_makes_more_of_more_slots_is_given_more(most_slots, family, slots):
    school = School("a")
    external(school, most_slots)
    assert serve(school, "a", 300, seconds_each=1.0, family=family) in slots


def test_slots_are_the_same_after_a_restart_of_the_fleet():
    school = School("a")
    external(school, 64)
    given = serve(school, "a", 300, seconds_each=1.0)
    (saved,) = school.notes.limits.saved()
    again = School("a")
    external(again, 64)
    again.notes.limits.restore(saved)
    again.learning.resume()
    assert again.state.instances["a"].slots_of("d-m") == saved.limit
    assert abs(saved.limit - given) <= 1
