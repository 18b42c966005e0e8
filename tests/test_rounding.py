import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from service.inference.rounding import is_close, settle_near_ties
from service.network import build_network
from tests.conftest import TINY

CPU = torch.device("cpu")


def test_what_differs_is_told_and_not_trusted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("bentoml"), "propagate", True)
    network = build_network(TINY).eval()
    assert is_close(network, network, CPU)
    assert not caplog.records
    with caplog.at_level("WARNING"):
        assert not is_close(lambda faces: network(faces) + torch.eye(7)[0], network, CPU)
    assert "bfloat16 is not trusted" in caplog.text


def test_only_near_ties_are_asked_again() -> None:
    asked: list[Any] = []

    def exact(close: Tensor) -> Tensor:
        asked.append(close.tolist())
        return torch.tensor([[0.0, 1.0]])

    ties = torch.tensor([[0.9, 0.1], [0.51, 0.49], [0.2, 0.8]])
    assert settle_near_ties(ties, exact).argmax(1).tolist() == [0, 1, 1]
    clear = torch.tensor([[0.9, 0.1]])
    assert settle_near_ties(clear, exact) is clear
    assert asked == [[False, True, False]]
