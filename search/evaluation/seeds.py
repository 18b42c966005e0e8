"""Accuracies of one configuration over several seeds."""

import statistics

from search.evaluation.scores import standard_error


class OverSeeds:
    """Mean and standard error of what has `values`: an accuracy, 0 to 1, of each seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean accuracy over the seeds."""
        return statistics.fmean(self.values)

    @property
    def standard_error(self) -> float:
        """Standard error of the mean; nan for a single seed."""
        return standard_error(self.values)
