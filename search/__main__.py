"""Offline side of the facial-emotion service: train, evaluate and publish networks."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from search.arguments import add_artifact, add_data, add_device, positive
from search.commands import add_audit, add_calibrate, add_evaluate, add_report, add_robustness
from search.config import NETWORKS, RECIPES
from search.errors import DataError, StoppedError, StudyError, TrainingError
from service.artifact import ArtifactError
from service.device import DeviceError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        options.command(options)
    except (DataError, StudyError, TrainingError, ArtifactError, DeviceError, OSError) as error:
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
    add_run(commands)
    add_retrain(commands)
    for add in (add_evaluate, add_calibrate, add_robustness, add_report, add_audit):
        add(commands)
    add_publish(commands)
    return parser


def add_run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`run`: search a space; without options the paper's own search."""
    text = "random search over networks; the same command again resumes"
    parser = commands.add_parser("run", help=text)
    add_data(parser)
    add_device(parser)
    add_study(parser)
    parser.add_argument("--trials", type=positive, default=500, help="the study's total")
    parser.add_argument("--epochs", type=positive, default=20, help="of each trial")
    parser.add_argument("--space", choices=("paper", "residual"), default="paper")
    parser.add_argument("--sampler", choices=("random", "tpe"), default="random")
    parser.add_argument("--pruner", choices=("none", "halving", "hyperband"), default="none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-parameters", type=positive, default=0, help="prune larger networks")
    parser.add_argument("--max-flops", type=positive, default=0, help="prune costlier networks")
    parser.add_argument("--workers", type=positive, default=1, help="processes on this machine")
    parser.add_argument("--confirm", type=int, default=6, help="best trials to train again")
    parser.add_argument("--confirm-seeds", type=int, default=3, help="seeds for each of them")
    text = "seconds between a trial's signs of life; after three without one it counts as dead"
    parser.add_argument("--heartbeat", type=positive, default=10, help=text)
    parser.set_defaults(command=run_run)


def run_run(options: argparse.Namespace) -> None:
    """Search."""
    from search.run import Search, digest_data, run_search
    from search.study import Protocol

    protocol = Protocol(
        space=options.space,
        epochs=options.epochs,
        sampler=options.sampler,
        pruner=options.pruner,
        seed=options.seed,
        data_digest=digest_data(options.data),
        max_parameters=options.max_parameters,
        max_flops=options.max_flops,
    )
    search = Search(
        data=options.data,
        storage=options.storage,
        name=options.study,
        protocol=protocol,
        trials=options.trials,
        workers=options.workers,
        device=options.device,
        heartbeat=options.heartbeat,
        confirm=options.confirm,
        confirm_seeds=options.confirm_seeds,
    )
    run_search(search)


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
    from search.distributed import own_device, processes, rank
    from search.retrain import retrain
    from service.device import pick_device

    recipe = RECIPES[options.recipe]
    if options.epochs:
        recipe = replace(recipe, epochs=options.epochs)
    device = own_device(pick_device(options.device))
    with processes(device):
        folder = retrain(
            options.data,
            NETWORKS[options.network],
            recipe,
            options.out,
            name=options.network,
            seed=options.seed,
            device=device,
            start_from=options.start_from,
            teachers=options.teacher,
            compile_mode=options.compile,
        )
        if rank() == 0:
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


def add_study(parser: argparse.ArgumentParser) -> None:
    """`--storage` and `--study`."""
    text = "database URL, or a path for SQLite"
    parser.add_argument("--storage", default="runs/search.db", help=text)
    parser.add_argument("--study", default="paper", help="the study's name")


if __name__ == "__main__":
    sys.exit(main())
