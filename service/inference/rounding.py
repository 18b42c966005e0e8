"""Answers in bfloat16: whether they are close to float32's, and where float32 decides the label."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from service.inference.forward import Forward
from service.inference.golden import GoldenError, check_close
from service.log import LOG

TOLERANCE: Final = 0.02
"""Largest difference of a probability to float32's; another network is not trusted."""

NEAR_TIE: Final = 2 * TOLERANCE
"""Lead of the likeliest label below which float32 decides; rounding moves it by less."""


def is_close(rounded: Forward, network: Forward, device: torch.device) -> bool:
    """Whether both say the same of the golden faces, but for rounding; if not, it is logged."""
    try:
        check_close(rounded, network, device, TOLERANCE)
    except GoldenError as error:
        LOG.warning("bfloat16 is not trusted (%s); float32 answers, more slowly", error)
        return False
    return True


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
