"""What a network is to answer, from labels and teachers."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from search.config import Recipe
from search.errors import TrainingError
from search.inference import predict_logits
from service.labels import LABELS


def make_targets(
    recipe: Recipe, images: Tensor, labels: Tensor, teachers: Sequence[nn.Module]
) -> Tensor:
    """Probabilities to learn, shape (N, 7): smoothed labels mixed with the teachers' mean.

    Raises:
        TrainingError: the recipe distils without teachers, or has no use for them.
    """
    if bool(recipe.distill) != bool(teachers):
        raise TrainingError("teachers and a recipe that distils need each other")
    targets = functional.one_hot(labels, len(LABELS)).float()
    targets = targets * (1 - recipe.label_smoothing) + recipe.label_smoothing / len(LABELS)
    if not teachers:
        return targets
    views = (images, images.flip(3))
    answers = [
        functional.softmax(predict_logits(teacher.to(images.device), view), 1)
        for teacher in teachers
        for view in views
    ]
    return torch.lerp(targets, torch.stack(answers).mean(0), recipe.distill)
