"""Weights between those that a training started from and those that it ended at.

Fine-tuning for robustness costs some accuracy on clean faces. Between the weights before and after
it lie networks with much of the gain and none of the loss (Wortsman et al., Robust fine-tuning of
zero-shot models, 2022).
"""

from pathlib import Path
from typing import Final

import torch

from search.errors import OptionsError
from search.retraining.overwriting import is_of_run
from search.training.history import copy_history
from service.artifact import load_artifact, save_artifact
from service.network import config_from_dict

MEASURED: Final = (
    *("metrics", "temperature", "uncertain_below", "calibration", "robustness", "seeds"),
    *("schema_version", "network", "labels", "input", "weights_sha256"),
)
"""What the card of a blend has anew."""


def blend(start: Path, run: Path, share: float, out: Path) -> None:
    """Write the network at a share of the way; its figures are still to be measured.

    Statistics of batch norm are blended as the weights are.

    Args:
        start: the artifact that the training started from.
        run: the artifact that it ended at.
        share: 0 is the start, 1 the end.
        out: folder of the artifact; its card is the run's but for what is measured, with the share
            as `blend`, the digest of the run's weights as `blended_sha256` and the start's `seeds`
            as `start_seeds`.

    Raises:
        ArtifactError: one of both does not pass its checks, or `out` cannot be written.
        OptionsError: the run did not start there, or is a blend itself; the share is not between
            0 and 1; or `out` is the folder of one of both, or of its training.
        OSError: the curve cannot be copied.
    """
    if not 0 < share < 1:
        raise OptionsError(f"--share {share:g}: expected between 0 and 1")
    if is_of_run(out, (start, run)):
        raise OptionsError(f"--out {out}: the folder of what is blended")
    first, last = load_artifact(start), load_artifact(run)
    if last.card.get("start_from") != first.card["weights_sha256"]:
        raise OptionsError(f"{run}: was not trained from {start}")
    if "blend" in last.card:
        raise OptionsError(f"{run}: is a blend itself; --run takes the artifact of a training")
    network = last.network
    weights = zip(network.state_dict().values(), first.network.state_dict().values(), strict=True)
    for own, other in weights:
        if own.is_floating_point():
            own.copy_(torch.lerp(other, own, share))
    kept = {name: value for name, value in last.card.items() if name not in MEASURED}
    facts = kept | {"blend": share, "blended_sha256": last.card["weights_sha256"]}
    if "seeds" in first.card:
        facts["start_seeds"] = first.card["seeds"]
    save_artifact(out, network, config_from_dict(last.card["network"]), facts)
    copy_history(run, out)
