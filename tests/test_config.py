import pytest
import torch

from search.config import NETWORKS, RECIPES, adapt
from service.network import build_network


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
