"""The networks this project can build, each from a frozen configuration; no I/O here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from service.labels import LABELS
from service.preprocess import IMAGE_SIZE


@dataclass(frozen=True, kw_only=True)
class PlainConfig:
    """The paper's family (Vulpe-Grigorași & Grigore, 2021): 3x3 convolutions, two dense layers.

    The first convolution keeps the resolution; every further one is followed by ReLU,
    batch norm, 2x2 max-pooling and dropout. Where the paper is silent (place of the batch
    norms) this is our reconstruction from its printed parameter count.
    """

    channels: tuple[int, ...]
    conv_dropout: float = 0.25
    dense_units: int = 256
    dense_dropout: float = 0.25

    def __post_init__(self) -> None:
        _require(1 <= len(self.channels) <= 5, "channels must name 1 to 5 convolutions")
        _require(min(self.channels) > 0 and self.dense_units > 0, "widths must be positive")
        _require_fractions(conv_dropout=self.conv_dropout, dense_dropout=self.dense_dropout)


@dataclass(frozen=True, kw_only=True)
class ResidualConfig:
    """Residual stages (He et al., 2016) with the stem and shortcuts of ResNet-D (He et al., 2019).

    Each stage halves the resolution except the first; `squeeze` adds squeeze-and-excitation
    (Hu et al., 2018) and `drop_path` is the last block's stochastic depth (Huang et al., 2016).

    `soften` blurs the faces by [soften, 1 - 2 soften, soften] along both axes, in evaluation
    only: augmentation samples between pixels, so that the network was trained on faces that
    are softer than a stored one. Train and test should look alike (Touvron et al., 2019).
    """

    stem_channels: int
    stem_stride: int = 2
    channels: tuple[int, ...]
    depths: tuple[int, ...]
    squeeze: bool = True
    drop_path: float = 0.0
    head_dropout: float = 0.0
    soften: float = 0.0

    def __post_init__(self) -> None:
        _require(self.stem_stride in (1, 2), "stem_stride must be 1 or 2")
        _require(1 <= len(self.channels) <= 5, "channels must name 1 to 5 stages")
        _require(len(self.channels) == len(self.depths), "channels and depths differ in length")
        _require(min(*self.channels, self.stem_channels) >= 2, "a width must be at least 2")
        _require(min(self.depths) > 0, "depths must be positive")
        _require_fractions(drop_path=self.drop_path, head_dropout=self.head_dropout)
        _require(0 <= self.soften <= 1 / 3, "soften must be 0 to 1/3")


NetworkConfig = PlainConfig | ResidualConfig
_FAMILIES: dict[str, type[PlainConfig] | type[ResidualConfig]] = {
    "plain": PlainConfig,
    "residual": ResidualConfig,
}


def config_to_dict(config: NetworkConfig) -> dict[str, Any]:
    """JSON-ready fields of a configuration, its family under `family`."""
    family = next(name for name, kind in _FAMILIES.items() if isinstance(config, kind))
    return {"family": family, **asdict(config)}


def config_from_dict(fields: Mapping[str, Any]) -> NetworkConfig:
    """Inverse of `config_to_dict`.

    Raises:
        ValueError: unknown family, unknown or missing field, or a value out of range.
    """
    values: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()
    }
    family = values.pop("family", None)
    if family not in _FAMILIES:
        raise ValueError(f"unknown network family {family!r}, expected one of {list(_FAMILIES)}")
    try:
        return _FAMILIES[family](**values)
    except TypeError as error:
        raise ValueError(f"bad network configuration: {error}") from None


def build_network(config: NetworkConfig) -> nn.Module:
    """A freshly initialised network: float (N, 1, 48, 48) in, logits (N, 7) out."""
    if isinstance(config, PlainConfig):
        return _plain(config)
    return _ResidualNetwork(config)


def sketch_network(config: NetworkConfig) -> nn.Module:
    """The network without memory for its weights, to count them or to see their shapes."""
    with torch.device("meta"):
        return build_network(config)


def split_network(network: nn.Module) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The layers that see the pixels, those that do the work, and those that give the logits.

    Args:
        network: one of `build_network`.
    """
    if isinstance(network, nn.Sequential):
        first, *rest, last = network
        parts = nn.Sequential(first), nn.Sequential(*rest), nn.Sequential(last)
    else:
        assert isinstance(network, _ResidualNetwork)
        stem = nn.Sequential(network.soften, network.stem)
        parts = stem, network.blocks, network.head
    # A new container would be in training mode.
    for part in parts:
        part.training = network.training
    return parts


def takes_any_size(network: nn.Module) -> bool:
    """Whether a network of `build_network` answers for other sizes than 48x48, too."""
    return isinstance(network, _ResidualNetwork)


def without_softening(network: nn.Module) -> nn.Module:
    """The network, changed in place to answer for augmented faces, which are soft already."""
    for module in network.modules():
        if isinstance(module, _Soften):
            module.amount = 0.0
    return network


def count_parameters(network: nn.Module) -> int:
    """Weights and running statistics, as Keras counts them (step counters left out)."""
    return sum(t.numel() for t in network.state_dict().values() if t.is_floating_point())


def count_flops(config: NetworkConfig) -> int:
    """Floating-point operations (two a multiply-add) of one forward pass on one image."""
    from torch.utils.flop_counter import FlopCounterMode

    network = sketch_network(config).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 1, IMAGE_SIZE, IMAGE_SIZE, device="meta"))
    flops: int = counter.get_total_flops()
    return flops


def _plain(config: PlainConfig) -> nn.Sequential:
    first, *further = config.channels
    layers: list[nn.Module] = [nn.Conv2d(1, first, 3, padding=1), nn.ReLU()]
    for inside, outside in pairwise((first, *further)):
        layers += [
            nn.Conv2d(inside, outside, 3, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(outside),
            nn.MaxPool2d(2),
            nn.Dropout(config.conv_dropout),
        ]
    side = IMAGE_SIZE >> len(further)
    layers += [
        nn.Flatten(),
        nn.Linear(config.channels[-1] * side**2, config.dense_units),
        nn.ReLU(),
        nn.BatchNorm1d(config.dense_units),
        nn.Dropout(config.dense_dropout),
        nn.Linear(config.dense_units, len(LABELS)),
    ]
    return nn.Sequential(*layers)


class _ResidualNetwork(nn.Module):
    def __init__(self, config: ResidualConfig) -> None:
        super().__init__()
        half = config.stem_channels // 2
        self.soften = _Soften(config.soften)
        self.stem = nn.Sequential(
            *_conv_norm(1, half, 3),
            nn.ReLU(),
            *_conv_norm(half, config.stem_channels, 3, config.stem_stride),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(*_residual_blocks(config))
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(config.head_dropout),
            nn.Linear(config.channels[-1], len(LABELS)),
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(self.stem(self.soften(images))))
        return logits


class _Soften(nn.Module):
    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = amount
        line = torch.tensor([amount, 1 - 2 * amount, amount])
        # On the device beforehand: a CUDA graph cannot fetch it. Derived, so no artifact has it.
        self.kernel: Tensor
        self.register_buffer("kernel", torch.outer(line, line)[None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if self.training or not self.amount:
            return images
        padded = functional.pad(images, (1,) * 4, "replicate")
        return functional.conv2d(padded, self.kernel.to(images))


def _residual_blocks(config: ResidualConfig) -> list[nn.Module]:
    blocks: list[nn.Module] = []
    total, inside = sum(config.depths), config.stem_channels
    for stage, (outside, depth) in enumerate(zip(config.channels, config.depths, strict=True)):
        for index in range(depth):
            stride = 2 if stage and not index else 1
            drop = config.drop_path * len(blocks) / max(1, total - 1)
            blocks.append(_ResidualBlock(inside, outside, stride, config.squeeze, drop))
            inside = outside
    return blocks


class _ResidualBlock(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int, squeeze: bool, drop: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_conv_norm(inside, outside, 3, stride),
            nn.ReLU(),
            *_conv_norm(outside, outside, 3),
            *([_SqueezeExcitation(outside)] if squeeze else []),
        )
        self.shortcut = _shortcut(inside, outside, stride)
        self.drop = drop
        last_norm = self.body[4]
        assert isinstance(last_norm, nn.BatchNorm2d)
        nn.init.zeros_(last_norm.weight)

    def forward(self, features: Tensor) -> Tensor:
        change = self.body(features)
        if self.training and self.drop:
            kept = torch.rand(len(features), 1, 1, 1, device=features.device) >= self.drop
            change = change * kept / (1 - self.drop)
        return torch.relu(change + self.shortcut(features))


class _SqueezeExcitation(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(4, channels // 8)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        weighted: Tensor = features * self.gate(features)
        return weighted


def _shortcut(inside: int, outside: int, stride: int) -> nn.Module:
    if inside == outside and stride == 1:
        return nn.Identity()
    pool = [nn.AvgPool2d(2, ceil_mode=True)] if stride == 2 else []
    return nn.Sequential(*pool, *_conv_norm(inside, outside, 1))


def _conv_norm(inside: int, outside: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, nn.BatchNorm2d(outside)]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_fractions(**values: float) -> None:
    for name, value in values.items():
        _require(0 <= value < 1, f"{name} must be at least 0 and below 1, not {value}")
