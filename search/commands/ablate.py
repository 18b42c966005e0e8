"""The command `ablate`."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from search.ablation.ideas import IDEAS
from search.commands.arguments import (
    add_data,
    add_device,
    add_set,
    add_start_from,
    add_teacher,
    positive,
)
from search.config import NETWORKS, RECIPES
from search.training.recipe import set_fields

DEFAULT: Final = "(default: %(default)s)"

if TYPE_CHECKING:
    from search.commands.arguments import Commands


def add_ablate(commands: "Commands") -> None:
    """`ablate`: what each idea of a recipe is worth."""
    text = "train a recipe and variations of it over several seeds; run it again to resume"
    parser = commands.add_parser("ablate", help=text)
    add_data(parser)
    add_device(parser)
    parser.add_argument("--network", choices=NETWORKS, default="compact", help=DEFAULT)
    parser.add_argument("--recipe", choices=RECIPES, default="modern", help=f"the base {DEFAULT}")
    add_set(parser)
    parser.add_argument("--epochs", type=positive, help="number of epochs, instead of the recipe's")
    parser.add_argument("--seeds", type=positive, default=3, help=f"runs of each recipe {DEFAULT}")
    text = (
        f"of {', '.join(IDEAS)}; separated by commas, or by + where they are tried together "
        "(default: all that change something)"
    )
    parser.add_argument("--ideas", default="", help=text)
    add_start_from(parser)
    add_teacher(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs and the table")
    parser.set_defaults(command=run_ablate, resumes=True)


def run_ablate(options: argparse.Namespace) -> None:
    """Train what is missing, print the table and say where the page lies."""
    from search.ablation.ablation import Ablation, run_ablation
    from search.ablation.ideas import pick_ideas
    from search.data.splits import load_split
    from search.report.ablation_report import write_ablation_report
    from search.retraining.retrain import load_start
    from service.artifact import load_artifact
    from service.device import pick_device

    network = NETWORKS[options.network]
    recipe = set_fields(RECIPES[options.recipe], network, options.changes)
    if options.epochs:
        recipe = replace(recipe, epochs=options.epochs)
    start = load_start(options.start_from, network) if options.start_from else None
    teachers = [load_artifact(folder) for folder in options.teacher]
    names = [name.strip() for name in options.ideas.split(",") if name.strip()]
    ablation = Ablation(
        network=network,
        recipe=recipe,
        ideas=pick_ideas(network, recipe, names, taught=bool(teachers), started=start is not None),
        seeds=options.seeds,
        start=(start.card["weights_sha256"], start.network) if start else None,
        teachers={teacher.card["weights_sha256"]: teacher.network for teacher in teachers},
    )
    train, validation = (load_split(options.data, split) for split in ("train", "validation"))
    options.out.mkdir(parents=True, exist_ok=True)
    device = pick_device(options.device)
    effects = run_ablation(ablation, train, validation, options.out, device)
    page = write_ablation_report(effects, options.out)
    print((options.out / "ablation.md").read_text(encoding="utf-8"))
    print(page)
