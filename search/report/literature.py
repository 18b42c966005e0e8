"""What others publish on FER2013, as the paper ranks it, with a row for a model of this project.

Tables III and IV of Vulpe-Grigorași & Grigore, 2021; all figures are theirs and of the test split.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from search.report.page import Table


class Published(NamedTuple):
    """A row: the model, its kind, and its accuracy on the test split in percent."""

    model: str
    kind: str
    accuracy: float


PAPER: Final = "the paper's model (5.17 M parameters)"

ALL_KINDS: Final = (
    Published("Khanzada Amil et al.", "ensemble CNN", 75.8),
    Published("Georgescu et al.", "fusion CNN + BOVW", 75.42),
    Published("Pramerdorfer et al.", "ensemble CNN", 75.2),
    Published("Zhang et al.", "multitask network", 75.1),
    Published("Kim et al.", "ensemble CNN", 73.73),
    Published("Connie et al.", "hybrid CNN-SIFT", 73.4),
    Published("VGG", "CNN", 72.7),
    Published("ResNet", "residual", 72.4),
    Published(PAPER, "CNN, hyperparameter optimisation", 72.16),
    Published("Hua et al.", "ensemble CNN", 71.91),
    Published("Inception", "deep CNN", 71.6),
    Published("Tang", "CNN + SVM", 71.16),
    Published("ResNet152", "residual", 69.7),
    Published("VGG-16", "CNN", 68.2),
    Published("Ionescu et al.", "BOVW", 67.48),
)
"""Table III."""

CNN_ONLY: Final = (
    Published("VGG", "CNN", 72.7),
    Published(PAPER, "CNN", 72.16),
    Published("fine-tuned VGG in Georgescu et al.", "CNN", 72.11),
    Published("best single model in Kim et al.", "CNN", 71.86),
    Published("Inception", "CNN", 71.6),
    Published("Tang", "CNN", 71.16),
    Published("CNN alone in Connie et al.", "CNN", 70.8),
    Published("VGG-16", "CNN", 68.2),
    Published("best single model in Hua et al.", "CNN", 68.18),
)
"""Table IV."""


def rank(accuracy: float, split: str, card: Mapping[str, Any]) -> list[Table]:
    """Both tables with this model's row.

    Args:
        accuracy: of this model, 0 to 1.
        split: on which it was measured.
        card: of this model.
    """
    name = f"this model ({card['parameters'] / 1e6:.2f} M parameters)"
    made = ("searched" if card.get("search") else "", "distilled" if card.get("teachers") else "")
    own = Published(name, ", ".join(("CNN", *filter(None, made))), 100 * accuracy)
    caption = "As published, on the test split."
    if split != "test":
        caption += (
            " This model's figure is of the validation split, where the paper's has 69.96 %:"
            " its place is a hint, no rank. With the test split at hand, --split test gives one."
        )
    return [
        _tabulate("All kinds of models (the paper's Table III)", caption, ALL_KINDS, own, split),
        _tabulate("Single networks (the paper's Table IV)", caption, CNN_ONLY, own, split),
    ]


def _tabulate(
    title: str, caption: str, published: Sequence[Published], own: Published, split: str
) -> Table:
    ranked = sorted((*published, own), key=lambda row: -row.accuracy)
    rows = [
        [row.model, row.kind, f"{row.accuracy:.2f}", split if row is own else "test"]
        for row in ranked
    ]
    header = ("model", "kind", "accuracy, %", "split")
    return Table(title, header, rows, caption, own=ranked.index(own))
