"""What all tests share.

The simulated Ollama of `ollama_fleet.sim` is part of the product; tests use it as a program that is
started like the real one.
"""

import os
import signal

from hypothesis import HealthCheck, settings

# A suite in the background of a script has inherited ignored interrupts; the programs it starts
# must not inherit them in turn, since some tests are about being interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# Time says nothing about a law on a busy machine. The gate (scripts/check, and CI with it) draws
# the same examples every time, so that it fails for a change and never for a draw; other runs go on
# looking for new ones.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("gate", settings.get_profile("suite"), derandomize=True)
gate = os.environ.get("CI") or os.environ.get("HYPOTHESIS_PROFILE") == "gate"
settings.load_profile("gate" if gate else "suite")
