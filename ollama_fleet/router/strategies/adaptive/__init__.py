"""adaptive: where the request will be finished first, in seconds, others' seconds included.

    value = 5/4 load + 3 wait + prefill + decode + others + evict

Each term is in seconds, from what was learned (estimate/): there is nothing to tune. `wait` counts
three times, because who waits also keeps those waiting who come later; a load only those who come
for other models. Binds late: the plan asks again for everybody who waits at every change.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from ollama_fleet.estimate import Cache, Speed
from ollama_fleet.router.intake import BLOCK_BYTES, Request
from ollama_fleet.router.policy import (
    NOTHING,
    Ahead,
    Binding,
    Figures,
    Strategy,
    View,
)
from ollama_fleet.router.strategies.adaptive.figures import Sketch, figures, passing
from ollama_fleet.router.strategies.adaptive.loading import NO_LOAD, Load, Loader
from ollama_fleet.router.strategies.adaptive.outlook import FRESH_TOKENS, Looking
from ollama_fleet.router.strategies.expectations import Expectations
from ollama_fleet.router.strategies.tools import Tools
from ollama_fleet.state import Instance, Residency

_FRESH_SHARE: Final = 0.02  # of a load's time: so long is what was reckoned of it good
_REMEMBERED: Final = 256  # sketches of an instance that are kept at hand
# How much a second of waiting counts. At 1 the lines at fast instances grow under load; measured
# by replay at 2, 3 and 4, the mean falls, the p99 rises, and at 4 models are loaded in turn.
GAMMA: Final = 3.0
# And a second of loading. Measured likewise, with three models of which not all fit: at 1 a busy
# fleet loads twice as often, at 3/2 too seldom, and either way its mean is 6 to 11 % longer.
LOADING: Final = 1.25
TERMS: Final = ("load", "wait", "prefill", "decode", "others", "evict")


def adaptive(tools: Tools) -> Strategy:
    """Expected completion, in seconds."""
    rule = _Adaptive(tools)
    return Strategy(
        "adaptive",
        rule.score,
        TERMS,
        binds=Binding.LATE,
        model_aware=tools.model_aware,
        weighs_loads=True,
        scores=rule.scores,
    )


class _Adaptive:
    """The strategy, and what it keeps at hand so that deciding costs microseconds."""

    def __init__(self, tools: Tools) -> None:
        self._speeds = tools.speeds
        self._prefixes = tools.prefixes
        self._expected = tools.expected or Expectations(tools.speeds)
        self._looking = Looking(tools.speeds, self._expected)

    def score(
        self, request: Request, instance: Instance, view: View, now_s: float, ahead: Ahead
    ) -> Figures:
        """Of one instance."""
        _, figures_of = self.scores(request, (instance,), view, now_s, {instance.name: ahead})
        return figures_of(0)

    def scores(
        self,
        request: Request,
        pool: Sequence[Instance],
        view: View,
        now_s: float,
        plans: Mapping[str, Ahead],
    ) -> tuple[list[float], Callable[[int], Figures]]:
        """Of all instances. In one loop: it runs for every instance at every arrival."""
        asked = request.slot, request.profile
        whole_prompt_tokens, output_tokens = self._expected(request)
        prompt_tokens = whole_prompt_tokens
        begun = self._prefixes.begun(request.prefix) if request.prefix else None
        values: list[float] = []
        found: list[Sketch] = []
        prompts: list[float] = []
        for instance in pool:
            ahead = plans.get(instance.name, NOTHING) if plans else NOTHING
            sketches = ahead.sketches if ahead.count else instance.sketches
            sketch: Sketch | None = sketches.get(asked)
            if sketch is None or now_s >= sketch[0]:
                sketch = self._sketch(request, instance, view, now_s, ahead)
                _keep(sketches, asked, sketch)
            _, fixed_s, base_s, prompt_s, token_s, slower_s, beside, left, terms = sketch
            if begun:
                cached = _cached_share(request, begun.get(terms[-1]))
                prompt_tokens = whole_prompt_tokens - (whole_prompt_tokens - 1.0) * cached
                prompts.append(prompt_tokens)
            of_prompt_s = prompt_s * prompt_tokens
            value = fixed_s + of_prompt_s + token_s * output_tokens
            if beside:  # who write this much meanwhile:
                written = beside * (output_tokens + (base_s + of_prompt_s) / token_s)
                value += slower_s * (left if left < written else written)  # noqa: FURB136 - no call
            values.append(value)
            found.append(sketch)
        prompts = prompts or [whole_prompt_tokens]
        return values, partial(figures, values, found, prompts, output_tokens)

    def _sketch(
        self, request: Request, instance: Instance, view: View, now_s: float, ahead: Ahead
    ) -> Sketch:
        asked = request.slot, request.profile
        ground: _Ground | None = instance.load_sketches.get(asked)
        if ground is None or now_s >= ground.until_s:
            residency = instance.residency(request.key, request.profile) if request.slot else None
            if residency is None:
                return passing(instance.in_flight + ahead.count)
            ground = self._ground(request, instance, residency, view, now_s)
            _keep(instance.load_sketches, asked, ground)
        speed, load = ground.speed, ground.load
        wait_s, beside, left_tokens = self._looking.at(instance, ground.residency, ahead, now_s)
        token_s = speed.token_base_s + speed.token_busy_s * (beside + 1)
        base_s = speed.prompt_base_s
        return (
            now_s + FRESH_TOKENS * token_s,
            LOADING * load.load_s + GAMMA * wait_s + load.evict_s + base_s,
            base_s,
            speed.prompt_token_s,
            token_s,
            speed.token_busy_s,
            beside,
            left_tokens,
            (load.load_s, wait_s, load.evict_s, ground.at),
        )

    def _ground(
        self,
        request: Request,
        instance: Instance,
        residency: Residency,
        view: View,
        now_s: float,
    ) -> "_Ground":
        speed = self._speeds.speed(instance.name, residency.weights)
        runner = instance.runners.get(residency.weights)
        load, until_s = NO_LOAD, now_s + FRESH_TOKENS * speed.token_s(1)
        if runner is None or not runner.has(residency.profile):
            load = Loader(self._speeds, view, self._looking, now_s).at(request, instance, residency)
            until_s = now_s + load.load_s * _FRESH_SHARE
        return _Ground(until_s, residency, speed, load, (instance.name, residency.weights))


class _Ground(msgspec.Struct, frozen=True):
    """What a sketch is made from that does not change with each request that comes or goes.

    Good until `until_s`, or until what is in the instance's memory changes.
    """

    until_s: float
    residency: Residency
    speed: Speed
    load: Load
    at: tuple[str, str]


def _cached_share(request: Request, cache: Cache | None) -> float:
    """How much of its prompt a runner's cache is expected to spare, 0 to 1."""
    if cache is None:
        return 0.0
    cached_bytes = cache.agrees(request.prefix) * BLOCK_BYTES
    return min(cached_bytes / max(request.prompt_bytes, 1), 1.0)


def _keep(sketches: dict[Any, Any], asked: object, sketch: object) -> None:
    """Keep what was reckoned, though not without end: clients choose what they ask for."""
    if len(sketches) >= _REMEMBERED:
        sketches.clear()
    sketches[asked] = sketch
