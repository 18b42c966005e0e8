"""Milliseconds a face of the network alone on one core: PyTorch beside what the service uses.

The share is of the operations a second that a large matrix product reaches in bfloat16, where the
CPU is faster with that, else in float32. With `--data` also whether both say the same of all
validation faces.

    python -m benchmarks.network --data fer2013
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.train import measure_peak
from search.data.splits import load_split
from service.artifact import load_artifact
from service.inference.compiled import compile_network, compiled_path
from service.inference.predictor import Predictor, fold_norms

Forward = Callable[[Tensor], Tensor]


def measure(forward: Forward, images: Tensor, seconds: float) -> float:
    """Median milliseconds an image."""
    spent, over = [], time.perf_counter() + seconds
    while time.perf_counter() < over:
        begun = time.perf_counter()
        forward(images)
        spent.append(time.perf_counter() - begun)
    return 1000 * statistics.median(spent) / len(images)


def compare(fast: Predictor, artifact: Path, data: Path) -> str:
    """Other labels and the largest difference of a probability on validation."""
    faces = load_split(data, "validation").images
    found = fast.predict(faces)
    expected = Predictor(load_artifact(artifact), "cpu", 64).predict(faces)
    flips = int((found.argmax(1) != expected.argmax(1)).sum())
    most = np.abs(found - expected).max()
    return f"{flips} of {len(faces)} labels differ, probabilities by {most:.4f} at most"


def main() -> None:
    """Print one line a batch size."""
    parser = argparse.ArgumentParser(description="the network alone, on one core")
    parser.add_argument("--artifact", type=Path, default=Path("models/compact"))
    parser.add_argument("--data", type=Path, help="FER2013, to compare the answers on")
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        artifact = load_artifact(options.artifact)
        compiled_path(Path(folder), artifact).write_bytes(compile_network(artifact.network))
        fast = Predictor(artifact, "cpu", 64, Path(folder))
        network = fold_norms(load_artifact(options.artifact).network)
        network = network.to(memory_format=torch.channels_last)
        ways: dict[str, Forward] = {"PyTorch": network, "graph": fast.network}
        if fast.rounded:
            ways["bfloat16"] = fast.rounded
            fast.warm_up()
        for count in (1, 4, 16, 64):
            images = torch.randn(count, 1, 48, 48)
            parts = [
                f"{name} {measure(way, images, options.seconds):.2f} ms"
                for name, way in ways.items()
            ]
            print(f"batch {count}: {', '.join(parts)}", flush=True)
        seconds = measure(fast.rounded or fast.network, torch.randn(16, 1, 48, 48), 2.0) / 1000
        share = artifact.card["flops_per_image"] / seconds / measure_peak(torch.device("cpu"))
        print(f"batch 16 at {share:.0%} of the matmul peak")
        if options.data:
            print(compare(fast, options.artifact, options.data))


if __name__ == "__main__":
    main()
