"""One network from several: the mean of their weights.

Networks trained on from one and the same network, with different seeds, lie in one basin of the
loss; there the mean of the weights answers about as well as all networks together, at the cost
of one (Wortsman et al., 2022, "Model soups").
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from search.config import recipe_from_dict
from search.data import load_split
from search.errors import OptionsError
from search.history import average_histories, read_history, write_history
from search.plan import choose_faces, current_commit
from search.retrain import finish_artifact
from search.scores import standard_error
from service.artifact import HISTORY_FILE, Artifact, load_artifact, save_artifact
from service.network import build_network, config_from_dict

SHARED: Final = ("network", "recipe", "start_from", "teachers", "data")
"""What the cards of the members must agree on."""


def average(members: Sequence[Path], data: Path, out: Path, device: torch.device) -> None:
    """Write the artifact of the members' mean, with its figures and theirs in the card.

    Args:
        members: artifacts of one network, recipe, start and data that differ in their seed.
        data: what they were trained on.
        out: the artifact's folder.
        device: to measure on.

    Raises:
        ArtifactError: a member does not pass its checks.
        OptionsError: as `check_members` and `check_data`, or `out` is a member's folder.
        OSError: a member has no curve.
        DataError: a split cannot be read.
    """
    if out.resolve() in {folder.resolve() for folder in members}:
        raise OptionsError(f"--out {out}: one of the members")
    loaded = [load_artifact(folder) for folder in members]
    check_members(members, loaded)
    first = loaded[0].card
    check_data(data, first)
    histories = [read_history(folder / HISTORY_FILE) for folder in members]
    config = config_from_dict(first["network"])
    save_artifact(out, average_weights(loaded), config, describe(loaded))
    write_history(out / HISTORY_FILE, average_histories(histories))
    finish_artifact(out, data, device)


def check_members(folders: Sequence[Path], members: Sequence[Artifact]) -> None:
    """Refuse networks whose weights have no meaningful mean.

    Raises:
        OptionsError: they are fewer than two, one is there twice, they differ in more than the
            seed, or began from fresh weights, which lead into different basins.
    """
    first = members[0].card
    if len({member.card["weights_sha256"] for member in members}) < max(2, len(members)):
        raise OptionsError("--member: at least two, and each one once")
    if not first.get("start_from"):
        raise OptionsError(f"{folders[0]}: not trained on from another network (--start-from)")
    if any("seed" not in member.card for member in members):
        raise OptionsError("--member: a mean itself; give its members")
    for folder, member in zip(folders, members, strict=True):
        other = [name for name in SHARED if member.card.get(name) != first.get(name)]
        if other:
            raise OptionsError(f"{folder}: differs from {folders[0]} in {', '.join(other)}")


def check_data(data: Path, card: dict[str, Any]) -> None:
    """Refuse faces on which the card's network was not trained.

    Raises:
        DataError: a split cannot be read.
        OptionsError: a split is another one.
    """
    splits = {
        "train": choose_faces(recipe_from_dict(card["recipe"]), load_split(data, "train")),
        "validation": load_split(data, "validation"),
    }
    for name, faces in splits.items():
        if faces.digest() != card["data"][f"{name}_sha256"]:
            raise OptionsError(f"--data {data}: its {name} split is not that of the networks")


def average_weights(members: Sequence[Artifact]) -> nn.Module:
    """A network whose weights and running statistics are the members' mean."""
    states = [member.network.state_dict() for member in members]
    network = build_network(config_from_dict(members[0].card["network"]))
    mean = {
        name: torch.stack([state[name] for state in states]).mean(0)
        for name, tensor in states[0].items()
        if tensor.is_floating_point()
    }
    network.load_state_dict(mean, strict=False)
    return network.eval()


def describe(members: Sequence[Artifact]) -> dict[str, Any]:
    """The card's facts: what the members share, and the figures of each."""
    first = members[0].card
    kept = ("name", "parameters", "flops_per_image", *SHARED[1:], "licence")
    measured = [member.card["metrics"]["validation"] for member in members]
    accuracies = [figures["accuracy"] for figures in measured]
    return {
        **{name: first[name] for name in kept},
        "commit": current_commit(),
        "members": [
            {
                "seed": member.card["seed"],
                "weights_sha256": member.card["weights_sha256"],
                "accuracy": figures["accuracy"],
                "loss": figures["loss"],
            }
            for member, figures in zip(members, measured, strict=True)
        ],
        "members_accuracy": {
            "split": "validation",
            "mean": statistics.mean(accuracies),
            "standard_error": standard_error(accuracies),
        },
    }
