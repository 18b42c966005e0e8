"""Answers in bfloat16: whether they are close to float32's, and where float32 decides the label."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from service.golden import draw_golden
from service.journal import LOG
from service.preprocess import standardize

TOLERANCE: Final = 0.02
"""Largest difference of a probability to float32's; another network is not trusted."""

NEAR_TIE: Final = 2 * TOLERANCE
"""Lead of the likeliest label below which float32 decides; rounding moves it by less."""


@torch.inference_mode()
def is_close(
    rounded: Callable[[Tensor], Tensor], network: Callable[[Tensor], Tensor], device: torch.device
) -> bool:
    """Whether both say the same of the golden faces, but for rounding; if not, it is logged.

    Args:
        rounded, network: map float32 (N, 1, 48, 48) on the device to logits, float32 (N, 7).
        device: theirs.
    """
    faces = standardize(torch.from_numpy(draw_golden())[:, None].to(device))
    answers, wanted = (torch.softmax(forward(faces), 1) for forward in (rounded, network))
    difference = float((answers - wanted).abs().max())
    if difference < TOLERANCE:
        return True
    LOG.warning("bfloat16 differs by %g; float32 answers, more slowly", difference)
    return False


def settle_near_ties(answers: Tensor, exact: Callable[[Tensor], Tensor]) -> Tensor:
    """Have float32 decide where rounding could have changed the label.

    Args:
        answers: rounded probabilities, float32 (N, 7); changed in place.
        exact: probabilities in float32 of the rows that a mask, bool (N,), names.

    Returns:
        The answers, float32 (N, 7).
    """
    first, second = answers.topk(2).values.unbind(1)
    close = first - second < NEAR_TIE
    if close.any():
        answers[close] = exact(close)
    return answers
