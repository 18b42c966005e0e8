from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from search.config import NETWORKS
from service.network import (
    PlainConfig,
    ResidualConfig,
    _ResidualBlock,
    build_network,
    config_from_dict,
    config_to_dict,
    count_flops,
    count_parameters,
    split_network,
)
from tests.conftest import TINY


def test_the_papers_network_has_the_printed_size() -> None:
    network = build_network(NETWORKS["paper"])
    assert count_parameters(network) == 5_173_959
    assert sum(p.numel() for p in network.parameters()) == 5_170_503


def test_flops_of_the_papers_network() -> None:
    assert count_flops(NETWORKS["paper"]) == pytest.approx(7.73e9, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "most_parameters", "most_flops"),
    [("compact", 1_000_000, 150e6), ("accurate", 5_170_000, 7.73e9)],
)
def test_the_named_networks_keep_their_bounds(
    name: str, most_parameters: int, most_flops: float
) -> None:
    config = NETWORKS[name]
    assert count_parameters(build_network(config)) <= most_parameters
    assert count_flops(config) <= most_flops


@pytest.mark.parametrize("config", [TINY, PlainConfig(channels=(8,)), *NETWORKS.values()])
def test_logits_and_round_trip(config: PlainConfig | ResidualConfig) -> None:
    assert config_from_dict(config_to_dict(config)) == config
    assert build_network(config).eval()(torch.zeros(2, 1, 48, 48)).shape == (2, 7)


def test_faces_are_softened_in_evaluation_only() -> None:
    torch.manual_seed(0)
    faces = torch.randn(2, 1, 48, 48)
    plain, soft = build_network(TINY), build_network(replace(TINY, soften=0.12))
    soft.load_state_dict(plain.state_dict())
    line = torch.tensor([0.12, 0.76, 0.12])
    blurred = functional.conv2d(
        functional.pad(faces, (1,) * 4, "replicate"), torch.outer(line, line)[None, None]
    )
    torch.testing.assert_close(soft.train()(faces), plain.train()(faces))
    torch.testing.assert_close(soft.eval()(faces), plain.eval()(blurred))
    stem, blocks, head = split_network(soft)
    torch.testing.assert_close(head(blocks(stem(faces))), soft(faces))


def test_blocks_that_are_dropped_leave_the_mean_as_it_is() -> None:
    torch.manual_seed(0)
    block = _ResidualBlock(4, 4, 1, squeeze=False, drop=0.4)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 0.1)
            module.eval()
    # Above the change everywhere, so that no sum is cut off at zero.
    features = 5 + torch.rand(1, 4, 3, 3)
    change = block.body(features)
    draws = block(features.expand(4000, -1, -1, -1)) - features
    dropped = (draws.abs() < 1e-6).flatten(1).all(1)
    assert dropped.float().mean().item() == pytest.approx(0.4, abs=0.03)
    torch.testing.assert_close(draws[~dropped][0], change[0] / 0.6)
    assert torch.equal(block.eval()(features), features + change)


def test_later_blocks_are_dropped_more_often() -> None:
    config = replace(TINY, channels=(8, 8), depths=(1, 2), drop_path=0.3)
    blocks = [m for m in build_network(config).modules() if isinstance(m, _ResidualBlock)]
    assert [block.drop for block in blocks] == pytest.approx([0.0, 0.15, 0.3])


def test_a_residual_network_takes_any_size() -> None:
    for size in (32, 40, 45):
        assert build_network(TINY).eval()(torch.zeros(1, 1, size, size)).shape == (1, 7)


@pytest.mark.parametrize(
    "fields",
    [
        {"family": "unknown"},
        {"family": "plain"},
        {"family": "plain", "channels": [8], "depths": [1]},
        {"family": "plain", "channels": [8] * 6},
        {"family": "plain", "channels": [8], "conv_dropout": 1.0},
        {"family": "residual", "stem_channels": 8, "channels": [8], "depths": [1, 1]},
        {"family": "residual", "stem_channels": 8, "channels": [8], "depths": [1], "soften": 0.5},
    ],
)
def test_bad_configurations_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        config_from_dict(fields)
