"""A straight line through samples as they come: least squares on relative errors, with forgetting.

Kept as sums, which are recursive least squares in their plainest form: old samples fade by a
factor, a prior is added when the line is read, and what is unknown of its slope or its base is
taken from the prior's shape.
"""

from dataclasses import dataclass

from ollama_fleet.estimate.records import Coefficients
from ollama_fleet.estimate.sane import finite

KEPT = 0.98  # of what is known, per sample: half of it is 34 samples old
LEVEL_DOUBT = 0.1  # how many samples the prior's level is worth,
SHAPE_DOUBT = 0.01  # and its shape: what tells one from the other is small against the noise
AFTER_SHIFT = 3.0  # samples that a line counts for when all of them have turned out to be old news


Sums = tuple[float, float, float, float, float, float]


@dataclass(slots=True)
class Line:
    """What is known of `y = base + slope * x`. `weight` says how many samples it is worth.

    The sums are over samples divided by `scale`², their square size, and so without a unit of
    their own beyond those of x: the line is the same one whatever y is measured in.
    """

    weight: float = 0.0
    ones: float = 0.0
    x: float = 0.0
    xx: float = 0.0
    y: float = 0.0
    xy: float = 0.0

    @classmethod
    def of(cls, sums: Sums) -> "Line":
        """A line that was saved. Raises ValueError if no samples can have made it."""
        finite(*sums)
        line = cls(*sums)
        told = min(line.ones, line.y) > 0 if line.weight else not any(sums)
        if not told or min(sums) < 0 or line.ones * line.xx * _ROUNDED < line.x * line.x:
            raise ValueError("no such line")
        return line

    def sums(self) -> Sums:
        """What it is made of."""
        return self.weight, self.ones, self.x, self.xx, self.y, self.xy

    def learn(self, x: float, y: float, scale: float, weight: float = 1.0) -> None:
        """Take in a sample; `scale` is about how large y should be, `weight` 1 for a full one."""
        kept = KEPT**weight
        share = weight / (scale * scale)
        self.weight = kept * self.weight + weight
        self.ones = kept * self.ones + share
        self.x = kept * self.x + share * x
        self.xx = kept * self.xx + share * x * x
        self.y = kept * self.y + share * y
        self.xy = kept * self.xy + share * x * y

    def scale(self, factor: float, kept: float = 1.0) -> None:
        """Everything takes `factor` times as long from now on; so much of its weight is kept."""
        self.weight *= kept
        squared = kept / (factor * factor)
        self.ones *= squared
        self.x *= squared
        self.xx *= squared
        self.y *= kept / factor
        self.xy *= kept / factor

    def shift(self, factor: float) -> None:
        """It was found to have become another: keep its shape at the new level, and doubt it."""
        self.scale(factor, min(1.0, AFTER_SHIFT / self.weight) if self.weight else 1.0)

    def fit(self, prior: Coefficients, level_doubt: float = LEVEL_DOUBT) -> Coefficients:
        """The line, where `prior` (both above 0) says what it was before there was a sample."""
        if not self.weight:
            return prior
        level = self._level(prior) ** (self.weight / (self.weight + level_doubt))
        return self._drawn(prior.base * level, prior.slope * level)

    def _level(self, prior: Coefficients) -> float:
        """By how much the prior as a whole has to be multiplied."""
        base, slope = prior
        told = base * self.y + slope * self.xy
        expected = base * base * self.ones + 2 * base * slope * self.x + slope * slope * self.xx
        return told / expected

    def _drawn(self, prior_base: float, prior_slope: float) -> Coefficients:
        """Least squares, drawn towards a prior of the right level."""
        ones = self.ones + SHAPE_DOUBT / (prior_base * prior_base)
        xx = self.xx + SHAPE_DOUBT / (prior_slope * prior_slope)
        y = self.y + SHAPE_DOUBT / prior_base
        xy = self.xy + SHAPE_DOUBT / prior_slope
        whole = ones * xx - self.x * self.x
        base = (xx * y - self.x * xy) / whole
        slope = (ones * xy - self.x * y) / whole
        if base < 0:
            return Coefficients(0.0, xy / xx)
        if slope < 0:
            return Coefficients(y / ones, 0.0)
        return Coefficients(base, slope)


_ROUNDED = 1 + 1e-9
