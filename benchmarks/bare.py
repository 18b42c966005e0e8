"""Images a second of the predictor alone: no HTTP, no decoding.

A process a core, as the service has, all at once: one core's rate times the cores would be more
than any server could reach, since cores share memory and may share their arithmetic.

    python -m benchmarks.bare
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from service.artifact import load_artifact
from service.inference.compiled import compile_network, compiled_path
from service.inference.predictor import Predictor

BATCH: Final = 64


def measure_bare(artifact: Path, seconds: float, cores: int | None = None) -> float:
    """Images a second of a process on each of so many cores, by default all; batches of 64."""
    context, cores = multiprocessing.get_context("spawn"), cores or os.cpu_count() or 1
    start, rates = context.Barrier(cores), context.SimpleQueue()
    work = (artifact, seconds, start, rates)
    processes = [context.Process(target=_measure_core, args=work) for _ in range(cores)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError("a process of the predictor failed")
    return float(sum(rates.get() for _ in processes))


def _measure_core(artifact: Path, seconds: float, start: Any, rates: Any) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_artifact(artifact)
        compiled_path(Path(folder), loaded).write_bytes(compile_network(loaded.network))
        predictor = Predictor(loaded, "cpu", BATCH, Path(folder))
    predictor.warm_up()
    faces = np.random.default_rng(0).integers(0, 256, (BATCH, 48, 48), dtype=np.uint8)
    start.wait(300)
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        predictor.predict(faces)
        count += BATCH
    rates.put(count / (time.perf_counter() - begun))


def main() -> None:
    """Print the rates of one core and of all."""
    parser = argparse.ArgumentParser(description="images a second of the predictor alone")
    parser.add_argument("--artifact", type=Path, default=Path("models/compact"))
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    for cores in sorted({1, os.cpu_count() or 1}):
        rate = measure_bare(options.artifact, options.seconds, cores)
        print(f"{cores} core(s): {rate:.0f} images/s")


if __name__ == "__main__":
    main()
