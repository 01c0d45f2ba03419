"""The composition root: a configuration becomes a running fleet. Start and stop on one screen."""

from ollama_fleet.fleet.fitting import fits_here, fits_of
from ollama_fleet.fleet.prepare import Prepared, prepare
from ollama_fleet.fleet.serving import run

__all__ = ["Prepared", "fits_here", "fits_of", "prepare", "run"]
