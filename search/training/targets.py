"""What a network is to answer, from labels and teachers."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from search.errors import TrainingError
from search.training.distributed import rank
from search.training.inference import predict_logits
from search.training.recipe import Recipe
from service.device import autocast
from service.labels import LABELS
from service.network import takes_any_size, without_softening
from service.preprocess import IMAGE_SIZE


def make_targets(
    recipe: Recipe, images: Tensor, labels: Tensor, teachers: Sequence[nn.Module]
) -> Tensor:
    """Probabilities to learn, shape (N, 7): smoothed labels mixed with the teachers' mean.

    Teachers that answer for augmented faces (`Recipe.consistent`) are mixed in at each step.

    Raises:
        TrainingError: the recipe distils without teachers, or has no use for them.
    """
    if bool(recipe.distill) != bool(teachers):
        raise TrainingError("teachers and a recipe that distils need each other")
    targets = functional.one_hot(labels, len(LABELS)).float()
    targets = targets * (1 - recipe.label_smoothing) + recipe.label_smoothing / len(LABELS)
    if not teachers or recipe.consistent:
        return targets
    views = (images, images.flip(3))
    if rank() == 0:
        print(f"{len(images):,} faces are answered by each teacher first", flush=True)
    for teacher in teachers:
        teacher.to(images.device).to(memory_format=torch.channels_last)
    with autocast(images.device):
        answers = [
            functional.softmax(predict_logits(teacher, view), 1)
            for teacher in teachers
            for view in views
        ]
    return torch.lerp(targets, torch.stack(answers).mean(0), recipe.distill)


def check_sizes(recipe: Recipe, teachers: Sequence[nn.Module]) -> None:
    """Refuse teachers that cannot answer for the faces of a recipe that is consistent.

    Raises:
        TrainingError: a teacher takes one size of faces only, and the recipe has others.
    """
    sides = {side for _, side in recipe.sizes}
    if sides != {IMAGE_SIZE} and not all(map(takes_any_size, teachers)):
        raise TrainingError(
            f"a teacher takes faces of {IMAGE_SIZE} pixels only, and the recipe has others; "
            "where it is not consistent a teacher is asked beforehand"
        )


class Tutor(nn.Module):
    """The teachers of a recipe that is consistent.

    Args:
        recipe: gives the teachers' share of a target.
        teachers: copied; those that soften stored faces do not soften augmented ones.
        device: of the faces.

    Raises:
        TrainingError: as `check_sizes`.
    """

    def __init__(self, recipe: Recipe, teachers: Sequence[nn.Module], device: torch.device) -> None:
        super().__init__()
        check_sizes(recipe, teachers)
        self.share = recipe.distill
        own = [without_softening(copy.deepcopy(teacher)) for teacher in teachers]
        self.teachers = nn.ModuleList(own).requires_grad_(False)
        self.to(device).to(memory_format=torch.channels_last).eval()

    def forward(self, batch: Tensor, targets: Tensor) -> Tensor:
        """Targets with the teachers' answers mixed in; call under the step's autocast.

        Args:
            batch: float (N, 1, H, W), as the network sees it.
            targets: (N, 7), probabilities.
        """
        answers = torch.stack([teacher(batch) for teacher in self.teachers])
        probabilities = functional.softmax(answers.float(), 2).mean(0)
        return torch.lerp(targets, probabilities, self.share)
