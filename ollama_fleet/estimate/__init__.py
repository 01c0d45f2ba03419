"""What the fleet knows of its own speed: learned rates, expected lengths, cache hits. Pure.

`Estimates` is told what happened, and answers how long things will take:

    estimates.weigh(weights, size_bytes)          what is known of a model before it ever ran
    estimates.learn(Observation(...))             an attempt that ran to its end
    estimates.saw(instance, weights, ...)         tokens that passed a moment ago
    estimates.loaded(instance, ...)               a load that has ended

    estimates.speed(instance, weights)            -> Speed: .prefill_s(tokens), .token_s(busy)
    estimates.load_s(instance, size_bytes, ...)   -> seconds
    estimates.remaining_tokens(Ask(...), written) -> tokens still to come of an answer
    estimates.prompt_tokens(key, text_bytes)      -> tokens that a text comes to

    estimates.limits.learn(...)                   -> slots to give an instance for some weights
    estimates.footprints.learn(...)               what some weights were seen to take of memory

    estimates.saved(), .restore(...)              what survives a restart, as JSON can hold it

`Prefixes` remembers which prompts an instance has lately had, and so what its cache spares.

An instance is known by its name, its weights by their blob's digest (`Residency.weights`), a model
by its key. There is no clock in here: age is counted in answers, and thresholds are relative to
what was expected. A fleet that is ten times slower in everything gets estimates ten times as long,
and would decide the same.
"""

from ollama_fleet.estimate.estimates import Estimates
from ollama_fleet.estimate.limits import Bounds, Served, served
from ollama_fleet.estimate.prefixes import Cache, Prefixes
from ollama_fleet.estimate.records import Ask, Observation, Speed

__all__ = [
    "Ask",
    "Bounds",
    "Cache",
    "Estimates",
    "Observation",
    "Prefixes",
    "Served",
    "Speed",
    "served",
]
