"""Trials an hour of the search beside the same trials in a plain PyTorch loop, in one run.

The plain loop is that of `benchmarks/train.py`: a DataLoader, torchvision transforms on each
image, float32, an optimiser and no more. Both train the networks of the same trials, in turns,
on the same share of the faces; hours are for whole trials.

    python -m benchmarks.search --data fer2013 --trials 4
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna import Trial

from benchmarks.provenance import tell_provenance
from benchmarks.train import measure_peak, prepare_plain
from search.config import PRESETS, Space
from search.data.faces import Faces, drop_duplicates
from search.data.splits import load_split
from search.study.sampler import SlotSampler
from search.study.space import SPACES, Candidate
from search.study.study import Protocol
from search.study.trial import train_trial
from search.training.recipe import Recipe
from service.device import pick_device
from service.network import count_flops


def draw_trials(space: Space, count: int, most_flops: int) -> Iterator[tuple[Trial, Candidate]]:
    """Trials of a random study whose networks stay below a cost (0: any), and what they train."""
    study = optuna.create_study(direction="maximize", sampler=SlotSampler(0))
    while count:
        trial = study.ask()
        trial.set_user_attr("slot", trial.number)
        candidate = SPACES[space](trial, 1)
        if not most_flops or count_flops(candidate.network) <= most_flops:
            count -= 1
            yield trial, candidate


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each trial, both ways."""
    device = pick_device(options.device)
    faces = load_split(options.data, "train")
    share = take_share(faces, options.images)
    whole = PRESETS[options.preset].epochs * len(faces) / len(share)
    protocol = Protocol(space=PRESETS[options.preset].space, epochs=1, data_digest="")
    held = share.select(np.arange(256))
    seconds: dict[str, list[float]] = {"plain": [], "search": []}
    flops = 0
    trials = draw_trials(protocol.space, options.trials + 1, options.max_flops)
    # The first trial warms up and does not count.
    for number, (trial, candidate) in enumerate(trials):
        network, augmented = candidate.network, candidate.recipe.mirror
        plain = prepare_plain(share, network, device, options.workers, augmented=augmented)
        found = {
            "plain": time_once(plain),
            "search": time_once(partial(train_trial, trial, protocol, share, held, device)),
        }
        print(f"trial {number}: {describe(found)}, {count_flops(network):,} FLOP", flush=True)
        if number:
            flops += 3 * count_flops(network) * len(share)
            for name, value in found.items():
                seconds[name].append(value)
    hours = {name: 3600 * options.trials / (whole * sum(seconds[name])) for name in seconds}
    return {
        "preset": options.preset,
        **tell_provenance(device),
        "torch": torch.__version__,
        "trials_an_hour": hours,
        "ratio": hours["search"] / hours["plain"],
        "share_of_matmul_peak": flops / sum(seconds["search"]) / measure_peak(device),
    }


def take_share(faces: Faces, count: int) -> Faces:
    """At most so many of the faces, in whole batches, of which no recipe drops any."""
    distinct = drop_duplicates(faces)
    count = min(count, len(distinct)) // Recipe.batch_size * Recipe.batch_size
    rows = torch.randperm(len(distinct), generator=torch.Generator().manual_seed(0))
    return distinct.select(rows[:count].numpy())


def time_once(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def describe(seconds: dict[str, float]) -> str:
    """One line."""
    return ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())


def main() -> None:
    """Print the comparison as JSON, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--preset", choices=PRESETS, default="residual")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--max-flops", type=int, default=60_000_000, help="0: any")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=2560, help="faces an epoch")
    parser.add_argument("--workers", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    text = json.dumps(compare(options), indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
