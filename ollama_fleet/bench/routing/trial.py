"""One replay of a scenario with one contender, and what is read off it."""

from collections.abc import Sequence

from ollama_fleet.bench.routing.contenders import CONTENDERS
from ollama_fleet.bench.routing.scenarios import WARM_UP, Scenario
from ollama_fleet.bench.routing.table import Trial
from ollama_fleet.replay.bounds import lower_bound_s
from ollama_fleet.replay.job import Job
from ollama_fleet.replay.run import Outcome, replay
from ollama_fleet.replay.summary import summary
from ollama_fleet.router.refusal import Refusal


def trial(scenario: Scenario, contender: str, seed: int) -> Trial:
    """Replay it; the same arguments give the same figures."""

    def replayed(jobs: Sequence[Job]) -> Outcome:
        return replay(
            scenario.layout,
            jobs,
            who.making(scenario),
            seed=seed,
            disturbances=scenario.disturbances,
            telling=who.telling,
            queue_limit=scenario.queue_limit,
        )

    who = CONTENDERS[contender]
    outcome = replayed(scenario.jobs(seed))
    found = summary(outcome, WARM_UP)
    counted = [f for f in outcome.fates[round(WARM_UP * len(outcome.fates)) :] if f.instance]
    unserved = [fate for fate in outcome.fates if not fate.instance]
    full = sum(fate.refused in (Refusal.FULL, Refusal.CROWDED) for fate in unserved)
    figures = {"lost": float(len(unserved) - full), "refused": float(full)}
    return Trial(
        mean_s=found.mean_s,
        p99_s=found.p99_s,
        ttft_mean_s=found.ttft_mean_s,
        requests=found.requests,
        cold_loads=found.cold_loads,
        bound_s=lower_bound_s(scenario.layout, counted),
        figures={**figures, **scenario.read(outcome, replayed)},
    )
