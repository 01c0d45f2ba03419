"""From the options of `fleet bench routing` to cases, and what starts their fleets."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import click

from ollama_fleet.bench.processes import real
from ollama_fleet.bench.processes.cases import USUAL, Case, case
from ollama_fleet.bench.processes.contenders import AS_IT_IS
from ollama_fleet.bench.processes.fleets import simulated
from ollama_fleet.bench.processes.study import QUICK, Opening, Scale

_ARRIVALS = ("constant", "poisson", "bursty")  # at a real Ollama
_REAL = ("adaptive", "round_robin", "least_conn")  # what it is measured with

Asked = Mapping[str, Any]
"""The options by name."""


@dataclass(frozen=True, slots=True)
class Sought:
    """What is to be studied; without `strategies` each case has its own contenders."""

    cases: Sequence[Case]
    opening: Opening
    strategies: Sequence[str]


def check(asked: Asked) -> None:
    """Raise UsageError for options that do not go together."""
    is_real = bool(asked["url"] or asked["ollama"])
    wrong = {
        "--url and --ollama are two different fleets": asked["url"] and asked["ollama"],
        "--url takes a fleet as it is: no --strategy": asked["url"] and asked["strategy"],
        "--ollama needs --store and at least two --cpus": (
            asked["ollama"] and not (asked["store"] and len(asked["cpus"]) > 1)
        ),
        "--url and --ollama need --model and --rate: nobody knows how fast they are": (
            is_real and not (asked["model"] and asked["rate"])
        ),
        f"--url and --ollama take --rate, and --scenario {', '.join(_ARRIVALS)}": (
            is_real and (asked["load"] or set(asked["scenario"]) - set(_ARRIVALS))
        ),
        "--model and --rate are for --url and --ollama": (
            not is_real and (asked["model"] or asked["rate"])
        ),
    }
    for reason, holds in wrong.items():
        if holds:
            raise click.UsageError(reason)


def scale(asked: Asked) -> Scale:
    """How much of a study there is to be; real instances run in real time."""
    usual = QUICK if asked["quick"] else Scale()
    is_real = asked["url"] or asked["ollama"]
    return Scale(
        requests=asked["requests"] or usual.requests,
        seeds=asked["seeds"] or usual.seeds,
        time_scale=1.0 if is_real else asked["time_scale"] or usual.time_scale,
    )


def sought(asked: Asked) -> Sought:
    """The cases, and what starts their fleets. Raises FleetError."""
    if asked["url"] or asked["ollama"]:
        return _real(asked)
    loads = asked["load"] or (None,)
    cases = [case(family, load) for family in asked["scenario"] or USUAL for load in loads]
    if asked["quick"]:
        cases = [replace(one, contenders=one.contenders[:2]) for one in cases]
    opening = partial(simulated, time_scale=scale(asked).time_scale, environ=os.environ)
    return Sought(cases, opening, asked["strategy"])


def _real(asked: Asked) -> Sought:
    model, strategies = asked["model"], asked["strategy"] or _REAL
    if asked["url"]:
        opening, strategies = real.at_url(asked["url"]), (AS_IT_IS,)
    else:
        own = real.Own(asked["ollama"], asked["store"], asked["cpus"], asked["slots"])
        opening = partial(real.started, own=own, model=model, environ=os.environ)
    cases = [
        real.case(real.Asked(model, asked["rate"], family, asked["shorter"]), strategies)
        for family in asked["scenario"] or ("constant",)
    ]
    return Sought(cases, opening, strategies)
