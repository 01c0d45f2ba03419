"""What may be believed of figures that come from a file."""

_NONSENSE = 1e30  # no figure of ours is as large, in whatever unit of time
_NONSENSE_LOG = 50.0


def finite(*values: float) -> None:
    """Raise ValueError unless all of them are figures that could have been learned."""
    if not all(abs(value) < _NONSENSE for value in values):
        raise ValueError("no figure of ours")


def logarithm(*values: float) -> None:
    """Raise ValueError unless all of them are logarithms of such figures."""
    if not all(abs(value) < _NONSENSE_LOG for value in values):
        raise ValueError("no logarithm of ours")
