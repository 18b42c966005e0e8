"""Ideas of an ablation: each changes some fields of a recipe or of a network."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from search.errors import TrainingError
from search.training.recipe import Recipe
from service.network import NetworkConfig, sketch_network

BASE: Final = "base"
"""Name of the unchanged recipe among the ideas."""

IDEAS: Final[dict[str, Mapping[str, Any]]] = {
    "no-label-smoothing": {"label_smoothing": 0.0},
    "no-weight-decay": {"weight_decay": 0.0},
    "no-ema": {"ema_decay": 0.0},
    "no-warmup": {"warmup_epochs": 0.0},
    "constant-rate": {"schedule": "constant"},
    # Their own usual rates come with them; Muon's would be far too high for AdamW.
    "adamw": {"optimizer": "adamw", "learning_rate": 2e-3},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4},
    "no-mirror": {"mirror": False},
    "no-rotation": {"rotation": 0.0},
    "wide-rotation": {"rotation": 25.0},
    "no-zoom": {"zoom": 0.0},
    "wide-zoom": {"zoom": 0.3},
    "no-shift": {"shift": 0.0},
    "wide-shift": {"shift": 0.2},
    "blur": {"blur": 1.5},
    "noise": {"noise": 0.4},
    "exposure": {"exposure": 1.0},
    "no-erase": {"erase": 0.0},
    "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 1.0},
    "balance": {"balance": 0.5},
    "full-size": {"sizes": ((1.0, 48),)},
    "keep-duplicates": {"drop_duplicates": False},
    "no-distill": {"distill": 0.0},
    "more-distill": {"distill": 0.6},
    "consistent": {"consistent": True},
    "no-squeeze": {"squeeze": False},
    "no-drop-path": {"drop_path": 0.0},
    "no-head-dropout": {"head_dropout": 0.0},
}
"""The fields of the recipe or of the network that each idea changes."""

TOGETHER: Final = "+"
"""Between ideas that are tried as one, such as `no-ema+no-erase`."""

Base = TypeVar("Base", Recipe, NetworkConfig)


def pick_ideas(
    network: NetworkConfig,
    recipe: Recipe,
    names: Sequence[str] = (),
    *,
    taught: bool = False,
    started: bool = False,
) -> tuple[str, ...]:
    """The named ideas, or all that can be tried and change something.

    Args:
        network: the base.
        recipe: the base.
        names: of ideas, or of several that are tried together; none for all of them, each alone.
        taught: whether there are teachers, which some ideas need.
        started: whether the runs go on from weights, which some ideas cannot take.

    Raises:
        TrainingError: there is no such idea, it changes nothing in this network and recipe, its
            network cannot take the weights, or two that are tried together change the same field.
    """
    for name in names:
        check_idea(network, recipe, name)
        if started and changes_weights(network, name):
            raise TrainingError(f"idea {name} has other weights than those of --start-from")
    found = [
        name
        for name in IDEAS
        if makes_difference(network, recipe, name)
        and (taught or not apply_idea(recipe, name).distill)
        and not (started and changes_weights(network, name))
    ]
    distinct: dict[frozenset[str], str] = {}
    for name in names:
        distinct.setdefault(frozenset(name.split(TOGETHER)), name)
    return tuple(distinct.values()) or tuple(found)


def check_idea(network: NetworkConfig, recipe: Recipe, idea: str) -> None:
    """Refuse an idea that cannot be tried, alone or together with others.

    Raises:
        TrainingError: there is no such idea, it changes nothing, or two change the same field.
    """
    parts = idea.split(TOGETHER)
    for part in parts:
        if part not in IDEAS:
            raise TrainingError(f"no idea {part}; there are: {', '.join(IDEAS)}")
    changed = [field for part in parts for field in IDEAS[part]]
    if len(changed) > len(set(changed)):
        raise TrainingError(f"ideas {idea} change the same field; try one after the other")
    for part in parts:
        # An idea may have its effect through another one.
        others = TOGETHER.join(other for other in parts if other != part) or BASE
        rest = apply_idea(network, others), apply_idea(recipe, others)
        if not makes_difference(*rest, part):
            raise TrainingError(f"idea {part} changes nothing in this network and recipe")


def makes_difference(network: NetworkConfig, recipe: Recipe, idea: str) -> bool:
    """Whether the idea makes a difference; how teachers answer makes none without teachers."""
    base, changed = (
        replace(found, consistent=found.consistent and found.distill > 0)
        for found in (recipe, apply_idea(recipe, idea))
    )
    return base != changed or apply_idea(network, idea) != network


def changes_weights(network: NetworkConfig, idea: str) -> bool:
    """Whether the idea's network cannot take the weights of the unchanged one."""
    base, changed = (
        {name: values.shape for name, values in sketch_network(config).state_dict().items()}
        for config in (network, apply_idea(network, idea))
    )
    return base != changed


def apply_idea(base: Base, idea: str) -> Base:
    """The recipe or network with what the idea changes in it; as it is for `BASE`."""
    known = {field.name for field in dataclasses.fields(base)}
    found = {name: value for name, value in list_changes(idea).items() if name in known}
    return replace(base, **found)


def list_changes(idea: str) -> dict[str, Any]:
    """The fields that the idea, or all that are tried together, changes; none for `BASE`."""
    parts = [] if idea == BASE else idea.split(TOGETHER)
    return {field: value for part in parts for field, value in IDEAS[part].items()}
