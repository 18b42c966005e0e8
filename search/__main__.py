"""Command line of the offline side: `python -m search <command>`."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from search.config import NETWORKS, RECIPES
from search.data import DataError
from search.train import TrainingError
from service.artifact import ArtifactError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        options.command(options)
    except (DataError, TrainingError, ArtifactError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m search", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    add_retrain(commands)
    return parser


def add_retrain(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`retrain`: train one network for long."""
    parser = commands.add_parser("retrain", help="train one network and write its artifact")
    add_data(parser)
    add_device(parser)
    parser.add_argument("--network", choices=NETWORKS, default="compact")
    parser.add_argument("--recipe", choices=RECIPES, default="modern")
    parser.add_argument("--epochs", type=int, help="in place of the recipe's number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and artifact")
    parser.set_defaults(command=run_retrain)


def run_retrain(options: argparse.Namespace) -> None:
    """Train and say where the artifact lies."""
    from search.device import pick_device
    from search.retrain import retrain

    recipe = RECIPES[options.recipe]
    if options.epochs:
        recipe = replace(recipe, epochs=options.epochs)
    folder = retrain(
        options.data,
        NETWORKS[options.network],
        recipe,
        options.out,
        name=options.network,
        seed=options.seed,
        device=pick_device(options.device),
    )
    print(f"artifact: {folder}")


def add_data(parser: argparse.ArgumentParser) -> None:
    """`--data`."""
    text = "fer2013.csv, icml_face_data.csv, or a folder of <split>/<label>/<image>"
    parser.add_argument("--data", type=Path, required=True, help=text)


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device`."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")


if __name__ == "__main__":
    sys.exit(main())
