"""Commands that train: their options and what they print."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from search.commands.arguments import (
    add_data,
    add_device,
    add_set,
    add_start_from,
    add_storage,
    add_teacher,
    count,
    positive,
    refuse_unused,
    seed,
)
from search.config import (
    NETWORKS,
    PRESETS,
    RECIPES,
    TAUGHT,
    Objectives,
    Pruner,
    Sampler,
    Space,
)
from search.errors import OptionsError
from search.training.recipe import Recipe, set_fields

if TYPE_CHECKING:
    from search.commands.arguments import Commands
    from service.network import NetworkConfig


def add_run(commands: "Commands") -> None:
    """`run`: search a space; what no option names comes from the preset."""
    text = "search for networks; run it again to resume"
    parser = commands.add_parser("run", help=text)
    add_data(parser)
    add_device(parser)
    add_storage(parser)
    text = "the published search, one over residual networks, or the same for accuracy and FLOPs"
    text += " (default: %(default)s)"
    parser.add_argument("--preset", choices=PRESETS, default="paper", help=text)
    parser.add_argument("--study", help="the study's name (default: the preset's)")
    parser.add_argument(
        "--trials", type=positive, help=f"the study's total {tell_preset('trials')}"
    )
    add_protocol(parser)
    text = "processes on this machine, which share all of its GPUs; one for each of them is usual"
    text += " (default: %(default)s)"
    parser.add_argument("--workers", type=positive, default=1, help=text)
    text = "how many of the best to train again, 0 for none (default: %(default)s)"
    parser.add_argument("--confirm", type=count, default=6, help=text)
    text = "new seeds for each of them, 0 for no training again (default: %(default)s)"
    parser.add_argument("--confirm-seeds", type=count, default=3, help=text)
    text = "seconds between a trial's heartbeats; after three missed ones it counts as dead"
    text += " (default: %(default)s)"
    parser.add_argument("--heartbeat", type=positive, default=10, help=text)
    parser.set_defaults(command=run_run, resumes=True)


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """What a study keeps to from its first trial on."""
    parser.add_argument("--epochs", type=positive, help=f"of each trial {tell_preset('epochs')}")
    for name, kind in (("space", Space), ("sampler", Sampler), ("pruner", Pruner)):
        parser.add_argument(f"--{name}", choices=get_args(kind), help=tell_preset(name))
    choices = get_args(Objectives)
    text = f"accuracy, or accuracy,flops for the Pareto front of both {tell_preset('objectives')}"
    parser.add_argument("--objectives", choices=choices, metavar="NAMES", help=text)
    text = "of initial weights, data order and a random search's choices (default: %(default)s)"
    parser.add_argument("--seed", type=int, default=0, help=text)
    for name, word in (("parameters", "larger"), ("flops", "costlier")):
        text = f"record {word} networks without training them (default: no bound)"
        parser.add_argument(f"--max-{name}", type=positive, default=0, help=text)


def tell_preset(field: str) -> str:
    """In words, what an option is by default."""
    values = ", ".join(f"{name}: {getattr(preset, field)}" for name, preset in PRESETS.items())
    return f"(default: {values})"


def run_run(options: argparse.Namespace) -> None:
    """Search."""
    from search.study.phase import Search, digest_data
    from search.study.run import run_search
    from search.study.space import VERSIONS
    from search.study.study import Protocol

    preset = PRESETS[options.preset]
    space = options.space or preset.space
    protocol = Protocol(
        space=space,
        space_version=VERSIONS[space],
        epochs=options.epochs or preset.epochs,
        sampler=options.sampler or preset.sampler,
        pruner=options.pruner or preset.pruner,
        seed=options.seed,
        data_digest=digest_data(options.data),
        max_parameters=options.max_parameters,
        max_flops=options.max_flops,
        objectives=options.objectives or preset.objectives,
    )
    search = Search(
        data=options.data,
        storage=options.storage,
        name=options.study or options.preset,
        protocol=protocol,
        trials=options.trials or preset.trials,
        workers=options.workers,
        device=options.device,
        heartbeat=options.heartbeat,
        confirm=options.confirm,
        confirm_seeds=options.confirm_seeds,
    )
    run_search(search)


def add_retrain(commands: "Commands") -> None:
    """`retrain`: train one network for long."""
    parser = commands.add_parser("retrain", help="train one network and write its artifact")
    add_data(parser)
    add_device(parser)
    what = parser.add_mutually_exclusive_group()
    # Without a default here: argparse would not tell `--network compact` from no option.
    what.add_argument("--network", choices=NETWORKS, help="by name (default: compact)")
    what.add_argument("--study", help="take the network of a study's trial")
    text = "its number (default: the best confirmed one, or the best); needs --study"
    parser.add_argument("--trial", type=count, help=text)
    add_storage(parser)
    text = "how to train; `trial` is the trial's own way (default: modern)"
    parser.add_argument("--recipe", choices=(*RECIPES, "trial"), default="modern", help=text)
    add_set(parser)
    parser.add_argument("--epochs", type=positive, help="number of epochs, instead of the recipe's")
    text = "of initial weights, data order and augmentation (default: %(default)s)"
    parser.add_argument("--seed", type=seed, default=0, help=text)
    add_start_from(parser)
    add_teacher(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and artifact")
    text = "fuse the network (torch.compile); takes a minute at the start, worth it for long runs"
    parser.add_argument("--compile", action="store_true", help=text)
    parser.set_defaults(command=run_retrain, resumes=True, spreads=True)


def run_retrain(options: argparse.Namespace) -> None:
    """Train and say where the artifact lies.

    Raises:
        OptionsError: options that have no use beside the others, or one that is missing.
    """
    from search.retraining.retrain import retrain
    from search.training.distributed import own_device, processes, rank
    from service.device import pick_device

    name = options.network or "compact"
    network, recipe, lineage = NETWORKS[name], None, None
    if not options.study:
        refuse_unused(options, "trial", "storage", because="only with --study")
    else:
        from search.retraining.lineage import find_trial

        chosen = find_trial(options.storage, options.study, options.trial)
        name, network, recipe, lineage = chosen.name, chosen.network, chosen.recipe, chosen.lineage
        trial, study = lineage["trial"], lineage["study"]
        print(f"trial {trial} of study {study}, by {lineage['chosen_by']}")
        if options.trial is None:
            print(f"the same again, whatever is the best by then: --trial {trial}")
    recipe = choose_recipe(options, recipe, network)
    device = own_device(pick_device(options.device))
    with processes(device):
        folder = retrain(
            options.data,
            network,
            recipe,
            options.out,
            name=name,
            lineage=lineage,
            seed=options.seed,
            device=device,
            start_from=options.start_from,
            teachers=options.teacher,
            compiled=options.compile,
        )
        if rank() == 0:
            print(f"artifact: {folder}")


def choose_recipe(
    options: argparse.Namespace, of_trial: Recipe | None, network: "NetworkConfig"
) -> Recipe:
    """What the options of `retrain` name for the network, with their number of epochs.

    Raises:
        OptionsError: the trial's recipe without a trial, teachers without a use, or none for a
            recipe that needs them; or as `set_fields`.
    """
    recipe = of_trial if options.recipe == "trial" else RECIPES[options.recipe]
    if recipe is None:
        raise OptionsError("--recipe trial needs --study")
    recipe = set_fields(recipe, network, options.changes)
    if options.teacher and not recipe.distill:
        raise OptionsError(
            f"--teacher has no use in the recipe {options.recipe}; {', '.join(TAUGHT)} use it"
        )
    if recipe.distill and not options.teacher:
        raise OptionsError(f"--recipe {options.recipe} needs --teacher")
    return replace(recipe, epochs=options.epochs or recipe.epochs)


def add_choose(commands: "Commands") -> None:
    """`choose`: the best of several seeds."""
    text = "take the best on validation of several seeds of one training; its card tells of all"
    parser = commands.add_parser("choose", help=text)
    text = "a run's artifact; give it for each of them"
    parser.add_argument(
        "--run", type=Path, metavar="ARTIFACT", action="append", required=True, help=text
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the artifact")
    parser.set_defaults(command=run_choose)


def run_choose(options: argparse.Namespace) -> None:
    """Choose, and print what all seeds came to."""
    from search.retraining.choose import choose

    seeds = choose(options.run, options.out)
    mean, error = (100 * seeds[name] for name in ("mean", "standard_error"))
    count, chosen = len(seeds["runs"]), seeds["chosen"]
    print(f"{mean:.2f} ± {error:.2f} % over {count} seeds; seed {chosen} is taken")
    print(f"artifact: {options.out}")


def add_blend(commands: "Commands") -> None:
    """`blend`: weights between a training's start and its end."""
    text = "take weights between those a training started from and those it ended at"
    parser = commands.add_parser("blend", help=text)
    add_data(parser)
    add_device(parser)
    text = "the artifact that the training started from"
    parser.add_argument("--start", type=Path, metavar="ARTIFACT", required=True, help=text)
    text = "the artifact that it ended at"
    parser.add_argument("--run", type=Path, metavar="ARTIFACT", required=True, help=text)
    text = "how far to go from the start (0) to the end (1)"
    parser.add_argument("--share", type=float, required=True, help=text)
    parser.add_argument("--out", type=Path, required=True, help="folder of the artifact")
    parser.set_defaults(command=run_blend)


def run_blend(options: argparse.Namespace) -> None:
    """Blend and measure."""
    from search.retraining.blend import blend
    from search.retraining.retrain import finish_artifact
    from service.device import pick_device

    device = pick_device(options.device)
    blend(options.start, options.run, options.share, options.out)
    finish_artifact(options.out, options.data, device)
    print(f"artifact: {options.out}")
