import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from service.artifact import ArtifactError, load_artifact
from service.network import build_network, config_from_dict, count_flops, count_parameters
from tests.conftest import TINY

MODELS = Path(__file__).parents[1] / "models"
SHIPPED = MODELS / "compact"


def test_round_trip(artifact: Path) -> None:
    torch.manual_seed(0)
    network = build_network(TINY).eval()
    images = torch.rand(3, 1, 48, 48)
    torch.testing.assert_close(load_artifact(artifact).network(images), network(images))


def test_the_folder_above_it_is_told_from_it(artifact: Path) -> None:
    with pytest.raises(
        ArtifactError, match=f"a training's artifact is in {artifact.parent}/artifact"
    ):
        load_artifact(artifact.parent)


@pytest.mark.parametrize("name", ["weights.safetensors", "card.json"])
def test_missing_and_torn_files_are_named(artifact: Path, name: str) -> None:
    file = artifact / name
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=name):
        load_artifact(artifact)
    file.unlink()
    with pytest.raises(ArtifactError, match=name):
        load_artifact(artifact)


def test_one_altered_byte_is_found(artifact: Path) -> None:
    file = artifact / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match="SHA-256"):
        load_artifact(artifact)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card.update(schema_version=99), "schema_version"),
        (lambda card: card.update(labels=["happy"]), "labels"),
        (lambda card: card.pop("network"), "no network"),
        (lambda card: card.update(temperature=None), "temperature is None"),
        (lambda card: card.update(temperature=0), "temperature is 0"),
        (lambda card: card.update(uncertain_below=None), "uncertain_below is None"),
        (lambda card: card.update(uncertain_below="0.5"), "uncertain_below is '0.5'"),
        (lambda card: card.update(metrics={"loss": math.nan}), "not JSON .NaN is no number"),
        (lambda card: card.update(uncertain_below=-math.inf), "not JSON .-Infinity is no number"),
        (lambda card: card.update(uncertain_below=80), "uncertain_below is 80"),
        (lambda card: card["network"].update(family="x"), "family"),
        (lambda card: card["network"].update(channels=[8, 24]), "size mismatch"),
    ],
)
def test_a_wrong_card_is_refused(
    artifact: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    file = artifact / "card.json"
    card = json.loads(file.read_text())
    change(card)
    file.write_text(json.dumps(card))
    with pytest.raises(ArtifactError, match=words):
        load_artifact(artifact)


def test_a_number_too_large_for_a_float_is_refused(artifact: Path) -> None:
    file = artifact / "card.json"
    file.write_text(file.read_text().replace("{", '{"size": 1e999, ', 1))
    with pytest.raises(ArtifactError, match="1e999 is no number"):
        load_artifact(artifact)


@pytest.mark.parametrize(
    ("name", "parameters", "flops", "accuracy"),
    [("compact", 1_000_000, 150_000_000, 0.70), ("accurate", 5_173_959, 3_000_000_000, 0.71)],
)
def test_the_shipped_models_are_what_their_cards_say(
    name: str, parameters: int, flops: int, accuracy: float
) -> None:
    artifact = load_artifact(MODELS / name)
    assert count_parameters(artifact.network) == artifact.card["parameters"] <= parameters
    config = config_from_dict(artifact.card["network"])
    assert count_flops(config) == artifact.card["flops_per_image"] <= flops
    found = artifact.card["metrics"]["validation"]
    assert found["images"] == 3589 and found["accuracy"] >= accuracy
