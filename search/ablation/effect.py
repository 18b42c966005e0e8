"""What an idea of an ablation does to the accuracy."""

import math
import statistics
from dataclasses import dataclass

from search.evaluation.scores import standard_error
from search.evaluation.seeds import OverSeeds


@dataclass(frozen=True)
class Effect(OverSeeds):
    """An idea's accuracy over the seeds, beside the base's.

    Attributes:
        idea: name in `IDEAS`, several of them tried together, or `BASE`.
        values: validation accuracy of each seed, 0 to 1.
        base: the same of the unchanged recipe.
        unseen: mean accuracy on the validation images that are not also in train; None where a
            run does not tell it.
    """

    idea: str
    values: tuple[float, ...]
    base: tuple[float, ...]
    unseen: float | None = None

    @property
    def difference(self) -> float:
        """Mean accuracy less the base's."""
        return self.mean - statistics.fmean(self.base)

    @property
    def difference_error(self) -> float:
        """Standard error of the difference; nan for a single seed."""
        return math.hypot(self.standard_error, standard_error(self.base))

    @property
    def kept(self) -> bool:
        """Whether three seeds or more show a gain of more than twice its standard error."""
        enough = min(len(self.values), len(self.base)) >= 3
        return enough and self.difference > 2 * self.difference_error
