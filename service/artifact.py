"""A model on disk: `weights.safetensors` and its `card.json`, checked when loaded."""

import hashlib
import json
import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from service.labels import LABELS
from service.network import NetworkConfig, build_network, config_from_dict, config_to_dict
from service.preprocess import IMAGE_SIZE

WEIGHTS_FILE: Final = "weights.safetensors"
CARD_FILE: Final = "card.json"
HISTORY_FILE: Final = "history.csv"
"""The training's curve, one row an epoch; an artifact is complete without it."""
TRAINED_FOLDER: Final = "artifact"
"""The artifact within a training's folder, which has its checkpoint besides."""
SCHEMA_VERSION: Final = 1

_CONTRACT: Final = {
    "schema_version": SCHEMA_VERSION,
    "labels": list(LABELS),
    "input": {"height": IMAGE_SIZE, "width": IMAGE_SIZE, "channels": 1, "dtype": "uint8"},
}
"""What every card says that this code can serve."""


class ArtifactError(RuntimeError):
    """The artifact is missing, torn or altered; the message names the file and the fault."""


@dataclass(frozen=True)
class Artifact:
    """A loaded model.

    Attributes:
        network: in evaluation mode, on the CPU, float32.
        card: the contents of `card.json`.
    """

    network: nn.Module
    card: dict[str, Any]

    @property
    def temperature(self) -> float:
        """What the logits are divided by, above 0 (Guo et al., 2017); 1 where the card has none."""
        return float(self.card.get("temperature", 1.0))


def save_artifact(
    folder: Path, network: nn.Module, config: NetworkConfig, facts: dict[str, Any]
) -> None:
    """Write weights and card.

    Args:
        folder: made if missing; an artifact in it is replaced.
        network: built from `config`.
        config: the network's configuration.
        facts: what else the card says: recipe, seed, data, metrics, licence.

    Raises:
        ArtifactError: a file cannot be written; what stood there stays.
    """
    state = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }
    weights = save(state)
    card = {
        **_CONTRACT,
        "network": config_to_dict(config),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        **facts,
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write_whole(folder / WEIGHTS_FILE, weights)
    write_card(folder, card)


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Replace an artifact's card, whole or not at all.

    Raises:
        ArtifactError: it cannot be written; the old one stays.
    """
    _write_whole(folder / CARD_FILE, (json.dumps(card, indent=2) + "\n").encode())


def update_card(folder: Path, measured: Artifact, facts: dict[str, Any]) -> None:
    """Put facts of an artifact into its card as it is by now.

    Measuring takes minutes, in which others may have added theirs.

    Raises:
        ArtifactError: the weights are not those that were measured any more, or the card cannot
            be read or written.
    """
    card = _read_card(folder / CARD_FILE)
    if card["weights_sha256"] != measured.card["weights_sha256"]:
        raise ArtifactError(f"{folder}: has other weights than those measured; measure it again")
    write_card(folder, card | facts)


def load_artifact(folder: Path) -> Artifact:
    """Read and check an artifact.

    Raises:
        ArtifactError: a file is missing or unreadable; the digest, schema, labels, input
            size, temperature, threshold, statistics or a weight's shape is not what the card or
            this code says.
    """
    card_path, weights_path = folder / CARD_FILE, folder / WEIGHTS_FILE
    within = folder / TRAINED_FOLDER
    if not card_path.exists() and (within / CARD_FILE).exists():
        raise ArtifactError(f"{card_path}: no such file; a training's artifact is in {within}")
    card = _read_card(card_path)
    weights = _read(weights_path)
    if hashlib.sha256(weights).hexdigest() != card["weights_sha256"]:
        raise ArtifactError(f"{weights_path}: SHA-256 differs from the card's, altered or torn")
    try:
        network = build_network(config_from_dict(card["network"]))
    except (ValueError, TypeError) as error:
        raise ArtifactError(f"{card_path}: {error}") from None
    try:
        missing, unexpected = network.load_state_dict(load(weights), strict=False)
    except (SafetensorError, RuntimeError) as error:
        raise ArtifactError(f"{weights_path}: {error}") from None
    # Step counters of batch norm are not weights and are not stored.
    lacking = [name for name in missing if not name.endswith("num_batches_tracked")]
    if lacking or unexpected:
        raise ArtifactError(f"{weights_path}: lacks {lacking}, has unknown {unexpected}")
    return Artifact(network.eval().requires_grad_(False), card)


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(_read(path), parse_constant=_refuse, parse_float=_finite)
    except ValueError as error:
        raise ArtifactError(f"{path}: not JSON ({error})") from None
    if not isinstance(card, dict):
        raise ArtifactError(f"{path}: not a JSON object")
    for key in (*_CONTRACT, "network", "weights_sha256"):
        if key not in card:
            raise ArtifactError(f"{path}: no {key}")
    for key, value in _CONTRACT.items():
        if card[key] != value:
            raise ArtifactError(f"{path}: {key} is {card[key]!r}, this code needs {value!r}")
    _check_calibration(path, card)
    return card


def _refuse(number: str) -> float:
    # Python reads NaN and the infinities; other JSON readers, such as a page's, do not.
    raise ValueError(f"{number} is no number")


def _finite(number: str) -> float:
    return value if math.isfinite(value := float(number)) else _refuse(number)


def _check_calibration(path: Path, card: dict[str, Any]) -> None:
    """Checks the optional fields that answers and metrics are computed from."""
    temperature = card.get("temperature", 1.0)
    if not _is_number(temperature) or temperature <= 0:
        raise ArtifactError(f"{path}: temperature is {temperature!r}, must be a number above 0")
    least = card.get("uncertain_below", 0)
    if not _is_number(least) or not 0 <= least <= 1:
        raise ArtifactError(f"{path}: uncertain_below is {least!r}, must be a number from 0 to 1")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}") from None


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file in one step, so that a kill leaves the old one or the new.

    Raises:
        OSError: it cannot be written; the old one stays.
    """
    fresh = path.with_name(path.name + ".tmp")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise


def _write_whole(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        raise ArtifactError(f"{path}: not written, {error.strerror}") from None
