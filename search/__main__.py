"""Offline side of the facial-emotion service: train, evaluate and publish networks."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from search.arguments import add_artifact, add_data, add_device, positive
from search.commands import add_audit, add_calibrate, add_evaluate, add_report, add_robustness
from search.config import NETWORKS, RECIPES
from search.errors import DataError, StoppedError, TrainingError
from service.artifact import ArtifactError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        options.command(options)
    except (DataError, TrainingError, ArtifactError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except StoppedError as error:
        print(f"{error}; the same command goes on from where it was", file=sys.stderr)
        return 128 + error.signal
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from where it was", file=sys.stderr)
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m search", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    add_retrain(commands)
    for add in (add_evaluate, add_calibrate, add_robustness, add_report, add_audit):
        add(commands)
    add_publish(commands)
    return parser


def add_retrain(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`retrain`: train one network for long."""
    parser = commands.add_parser("retrain", help="train one network and write its artifact")
    add_data(parser)
    add_device(parser)
    parser.add_argument("--network", choices=NETWORKS, default="compact")
    parser.add_argument("--recipe", choices=RECIPES, default="modern")
    parser.add_argument("--epochs", type=positive, help="in place of the recipe's number")
    parser.add_argument("--seed", type=int, default=0)
    text = "artifact of the same network to go on from"
    parser.add_argument("--start-from", type=Path, metavar="ARTIFACT", help=text)
    text = "artifact to distil from (--recipe refine); may be given several times"
    parser.add_argument(
        "--teacher", type=Path, metavar="ARTIFACT", action="append", default=[], help=text
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and artifact")
    modes, text = ("default", "reduce-overhead", "max-autotune"), "compile the network (torch)"
    parser.add_argument("--compile", choices=modes, help=text)
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
        start_from=options.start_from,
        teachers=options.teacher,
        compile_mode=options.compile,
    )
    print(f"artifact: {folder}")


def add_publish(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`publish`: put an artifact into the model store."""
    parser = commands.add_parser("publish", help="put an artifact into the BentoML model store")
    add_artifact(parser)
    parser.add_argument("--name", default="facial-emotion", help="the model's name in the store")
    parser.set_defaults(command=run_publish)


def run_publish(options: argparse.Namespace) -> None:
    """Publish and print the tag."""
    from search.publish import publish

    print(publish(options.artifact, options.name))


if __name__ == "__main__":
    sys.exit(main())
