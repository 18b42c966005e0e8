import re
from dataclasses import replace

import pytest
import torch

from search.config import NETWORKS, RECIPES
from search.errors import OptionsError
from search.training.recipe import Recipe, adapt, set_fields
from service.network import build_network

COMPACT = NETWORKS["compact"]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_network_takes_the_images_of_every_recipe(network: str, recipe: str) -> None:
    with torch.device("meta"):
        built = build_network(NETWORKS[network])
        for _, size in adapt(RECIPES[recipe], NETWORKS[network]).sizes:
            assert built(torch.empty(2, 1, size, size)).shape == (2, 7)


def test_only_a_network_of_one_size_changes_a_recipe() -> None:
    assert adapt(RECIPES["modern"], NETWORKS["compact"]) == RECIPES["modern"]
    assert adapt(RECIPES["modern"], NETWORKS["paper"]).sizes == ((1.0, 48),)


def test_fields_are_set_by_name() -> None:
    modern = RECIPES["modern"]
    changed = set_fields(modern, COMPACT, ["erase=0", "mirror=false", "batch_size=512"])
    assert changed == replace(modern, erase=0.0, mirror=False, batch_size=512)
    changed = set_fields(
        modern, COMPACT, ["optimizer=sgd", "learning_rate=0.1", "weight_decay=5e-4"]
    )
    assert changed == replace(modern, optimizer="sgd", learning_rate=0.1, weight_decay=5e-4)
    assert set_fields(modern, COMPACT, ["optimizer=muon"]) == modern
    assert set_fields(modern, COMPACT, []) == modern
    changed = set_fields(modern, COMPACT, ["sizes=0.9:24,1:48"])
    assert changed == replace(modern, sizes=((0.9, 24), (1.0, 48)))


def test_a_network_of_one_size_takes_no_others() -> None:
    modern, paper = RECIPES["modern"], NETWORKS["paper"]
    assert set_fields(modern, paper, ["sizes=1:48"]) == adapt(modern, paper)
    with pytest.raises(OptionsError, match="--set sizes: this network takes faces of 48 pixels"):
        set_fields(modern, paper, ["sizes=0.5:32,1:48"])


def test_a_decay_is_not_taken_for_a_penalty() -> None:
    with pytest.raises(OptionsError, match="optimizer=sgd: needs --set weight_decay="):
        set_fields(RECIPES["modern"], COMPACT, ["optimizer=sgd", "learning_rate=0.1"])
    adamw = ["optimizer=adamw", "learning_rate=0.002"]
    assert set_fields(RECIPES["modern"], COMPACT, adamw).weight_decay == 0.05


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ereas=0", "--set ereas=0: not name=value with one of batch_size, optimizer,"),
        ("erase", "--set erase: not name=value"),
        ("erase=much", "--set erase=much: could not convert string to float"),
        ("erase=nan", "--set erase=nan: expected a finite number"),
        ("batch_size=1.5", "--set batch_size=1.5: invalid literal for int()"),
        ("epochs=3", "--set epochs=3: not name=value"),
        ("mirror=1", "--set mirror=1: expected true, false"),
        ("optimizer=sgd", "--set optimizer=sgd: needs --set learning_rate=..., too"),
        ("optimizer=lion", "--set optimizer=lion: expected adam, adamw, muon, sgd"),
        ("batch_size=1", "--set: epochs must be at least 1 and batch_size at least 2"),
        ("erase=1.5", "--set: erase must be from 0 to 1"),
        ("rotation=-5", "--set: rotation must not be negative"),
        ("sizes=48", "--set sizes=48: expected share:side, such as 0.5:32,1:48"),
        ("sizes=0.5:32", "--set: sizes must have rising shares that end at 1.0"),
        ("sizes=0.5:4,1:48", "--set: sizes must have shares from 0 to 1 and sides from 8 to 192"),
        ("sizes=nan:32,1:48", "--set: sizes must have shares from 0 to 1 and sides from 8 to 192"),
    ],
)
def test_a_change_that_cannot_be_names_the_field(change: str, words: str) -> None:
    with pytest.raises(OptionsError, match=re.escape(words)):
        set_fields(RECIPES["modern"], COMPACT, [change])


def test_a_decay_that_adam_would_leave_out_is_refused() -> None:
    with pytest.raises(ValueError, match="adam takes no weight_decay"):
        Recipe(epochs=1, optimizer="adam", weight_decay=0.05)
