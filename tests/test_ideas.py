from dataclasses import fields, replace

import pytest

from search.ablation.ideas import BASE, IDEAS, apply_idea, list_changes, pick_ideas
from search.config import NETWORKS, RECIPES
from search.errors import TrainingError
from service.network import ResidualConfig

COMPACT = NETWORKS["compact"]


@pytest.mark.parametrize("name", ["modern", "distill"])
def test_every_idea_changes_the_recipes_that_it_is_for(name: str) -> None:
    found = pick_ideas(COMPACT, RECIPES[name], taught=True)
    untaught = {"no-distill", "consistent"} if name == "modern" else set()
    assert set(IDEAS) - set(found) == untaught
    assert "more-distill" not in pick_ideas(COMPACT, RECIPES["modern"])


def test_every_idea_changes_fields_of_the_network_or_the_recipe() -> None:
    names = {field.name for field in (*fields(COMPACT), *fields(RECIPES["modern"]))}
    assert {name for idea in IDEAS.values() for name in idea} <= names


def test_a_wrong_idea_is_named() -> None:
    with pytest.raises(TrainingError, match="no idea magic; there are: no-label-smoothing"):
        pick_ideas(COMPACT, RECIPES["modern"], ["magic"])
    with pytest.raises(TrainingError, match="no-distill changes nothing"):
        pick_ideas(COMPACT, RECIPES["modern"], ["no-distill"])
    with pytest.raises(TrainingError, match="no-squeeze changes nothing"):
        pick_ideas(NETWORKS["paper"], RECIPES["modern"], ["no-squeeze"])


def test_ideas_are_tried_together() -> None:
    modern, both = RECIPES["modern"], "no-squeeze+no-ema"
    assert pick_ideas(COMPACT, modern, [both, "no-ema"]) == (both, "no-ema")
    assert apply_idea(modern, both) == replace(modern, ema_decay=0.0)
    assert isinstance(COMPACT, ResidualConfig)
    assert apply_idea(COMPACT, both) == replace(COMPACT, squeeze=False)
    assert list_changes(both) == {"squeeze": False, "ema_decay": 0.0}
    assert list_changes(BASE) == {}
    assert pick_ideas(COMPACT, modern, [both, "no-ema", "no-ema+no-squeeze"]) == (both, "no-ema")


def test_an_idea_may_have_its_effect_through_another() -> None:
    modern, both = RECIPES["modern"], "more-distill+consistent"
    assert pick_ideas(COMPACT, modern, [both], taught=True) == (both,)
    with pytest.raises(TrainingError, match="idea consistent changes nothing"):
        pick_ideas(COMPACT, RECIPES["distill"], ["no-distill+consistent"], taught=True)


@pytest.mark.parametrize(
    ("together", "words"),
    [
        ("no-ema+", "no idea ; there are"),
        ("no-ema+no-distill", "no-distill changes nothing"),
        ("adamw+sgd", "adamw.sgd change the same field"),
        ("no-ema+no-ema", "change the same field"),
    ],
)
def test_what_cannot_be_tried_together_is_told(together: str, words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        pick_ideas(COMPACT, RECIPES["modern"], [together])


def test_ideas_with_other_weights_cannot_go_on_from_some() -> None:
    recipe = RECIPES["modern"]
    assert set(pick_ideas(COMPACT, recipe)) - set(pick_ideas(COMPACT, recipe, started=True)) == {
        "no-squeeze"
    }
    with pytest.raises(TrainingError, match="no-squeeze has other weights than those of --start"):
        pick_ideas(COMPACT, recipe, ["no-squeeze"], started=True)
