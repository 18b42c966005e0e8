"""Progress of one training."""

import time

from search.duration import format_seconds
from search.training.recipe import Recipe


class TrainingProgress:
    """Prints one line an epoch, with the time left at the pace of this call's whole epochs.

    An epoch's cost goes by the area of its images, which grow in the course of some recipes.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.epochs = recipe.epochs
        self.costs = [recipe.size_at(epoch) ** 2 for epoch in range(recipe.epochs)]
        self.begin(0.0)

    def begin(self, done: float) -> None:
        """Note the epochs done before this call, and print them if there are any."""
        self.first, self.started = done, time.monotonic()
        if done:
            last = int(done)
            place = f"after epoch {last}" if done.is_integer() else f"within epoch {last + 1}"
            print(f"resuming {place} of {self.epochs}", flush=True)

    def show(self, figures: dict[str, float]) -> None:
        """Print an epoch's figures."""
        epoch, now = int(figures["epoch"]), time.monotonic()
        left = ""
        if self.first.is_integer():
            pace = (now - self.started) / sum(self.costs[int(self.first) : epoch])
            left = f"  {format_seconds(pace * sum(self.costs[epoch:]))} left"
        else:
            # The rest of an epoch, with all of its validation, tells no pace.
            self.first, self.started = float(epoch), now
        unseen = ""
        if "unseen_accuracy" in figures:
            unseen = f", not in train {figures['unseen_accuracy']:.2%}"
        print(
            f"epoch {epoch}/{self.epochs}  loss {figures['loss']:.4f}  "
            f"accuracy {figures['accuracy']:.2%}  "
            f"validation {figures['validation_accuracy']:.2%} "
            f"(loss {figures['validation_loss']:.4f}{unseen})  "
            f"{figures['images_per_second']:.0f} images/s{left}",
            flush=True,
        )
