"""What the fleet mends by itself: instances that hang, that lose a GPU, that run on the CPU."""

from pydantic import Field

from ollama_fleet.config.kinds import Duration
from ollama_fleet.config.settings import Record


class RepairConfig(Record):
    """What the fleet mends by itself: instances that hang, or run on the CPU what fits on a GPU."""

    hangs: bool = True
    """Mend instances that hang: end their requests, unload their models, restart them."""
    hang_after_s: Duration = Field(60.0, alias="hang_after")
    """How long slots must be busy, without a token and without any work done, to be a hang."""
    step_timeout_s: Duration = Field(10.0, alias="step_timeout")
    """Time for a step of a repair to be seen to have helped; then the next one is taken."""
    cooldown_s: Duration = Field(600.0, alias="cooldown")
    """The time between two restarts of an instance; a step that did not last so long is not
    enough the next time."""
    offload: bool = True
    """Restart an instance, drained, that runs on the CPU what its GPUs have room for."""
    inference_probe_s: Duration | None = Field(None, alias="inference_probe")
    """How long a model in memory may give nothing before it is asked for one token; unset never."""
