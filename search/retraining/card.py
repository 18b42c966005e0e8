"""The card of a trained network: what it is, what it was made from, and on what terms."""

from dataclasses import asdict
from typing import Any, Final

from search.data.faces import Faces
from search.training.plan import Plan, Run
from service.network import count_flops, count_parameters

FER2013_COUNTS: Final = (467, 56, 496, 895, 653, 415, 607)
"""Images of each label, in the order of `LABELS`, in FER2013's PublicTest split.

The data set is known by them, since the grey levels of its copies differ.
"""

FER2013_TERMS: Final = {
    "name": "FER2013",
    "terms": "FER2013 (Goodfellow et al., Challenges in representation learning, 2013); "
    "research use only",
    "licence": "Apache-2.0 for the code; weights trained on FER2013, for research use only",
}
OTHER_TERMS: Final = {
    "name": "own faces",
    "terms": "own faces, under the terms of whoever gave them",
    "licence": "Apache-2.0 for the code; weights as far as the terms of all faces allow that "
    "they, their teachers and the network they start from were trained on",
}


def is_fer2013(validation: Faces) -> bool:
    """Whether a validation split is that of a copy of FER2013."""
    return tuple(validation.count_labels()) == FER2013_COUNTS


def find_terms(validation: Faces) -> dict[str, str]:
    """The data set's name and terms, and the weights' licence, by its validation split."""
    return FER2013_TERMS if is_fer2013(validation) else OTHER_TERMS


def describe(plan: Plan, run: Run, validation: Faces, name: str) -> dict[str, Any]:
    """The card's facts about a finished run."""
    last = run.history[-1]
    data = find_terms(validation)
    return {
        "name": name,
        "parameters": count_parameters(run.average),
        "flops_per_image": count_flops(plan.network),
        "recipe": asdict(plan.recipe),
        "seed": plan.seed,
        "start_from": plan.start_from,
        "teachers": list(plan.teachers),
        "data": {
            "name": data["name"],
            "train_sha256": plan.train_digest,
            "validation_sha256": validation.digest(),
            "terms": data["terms"],
        },
        "commit": run.commit,
        "trained_with": run.machine,
        "licence": data["licence"],
        "metrics": {
            "validation": {
                "accuracy": last["validation_accuracy"],
                "loss": last["validation_loss"],
                "images": len(validation),
            }
        },
        "temperature": 1.0,
    }
