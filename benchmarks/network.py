"""Milliseconds a face of the network alone on one core: PyTorch beside the compiled graph.

python -m benchmarks.network
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from service.artifact import load_artifact
from service.compiled import compile_network, load_compiled
from service.predictor import fold_norms


def measure(forward: Callable[[Tensor], Tensor], images: Tensor, seconds: float) -> float:
    """Median milliseconds an image."""
    spent, over = [], time.perf_counter() + seconds
    while time.perf_counter() < over:
        begun = time.perf_counter()
        forward(images)
        spent.append(time.perf_counter() - begun)
    return 1000 * statistics.median(spent) / len(images)


def measure_peak(seconds: float) -> float:
    """FLOPs a second of a large float32 matrix product."""
    left, right = torch.rand(2, 1024, 1024)
    return 2 * 1024**3 / (measure(lambda _: left @ right, torch.zeros(1), seconds) / 1000)


def main() -> None:
    """Print one line a batch size, and the graph's share of the core's peak."""
    parser = argparse.ArgumentParser(description="the network alone, on one core")
    parser.add_argument("--artifact", type=Path, default=Path("models/compact"))
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    artifact = load_artifact(options.artifact)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path = Path(folder) / "network.onnx"
        path.write_bytes(compile_network(artifact.network))
        network = fold_norms(artifact.network).to(memory_format=torch.channels_last)
        graph = load_compiled(path, network, 1)
        assert graph is not None
        peak = measure_peak(options.seconds)
        for count in (1, 4, 16, 64):
            images = torch.randn(count, 1, 48, 48)
            eager, compiled = (measure(f, images, options.seconds) for f in (network, graph))
            share = artifact.card["flops_per_image"] / (compiled / 1000) / peak
            print(
                f"batch {count}: PyTorch {eager:.2f} ms, graph {compiled:.2f} ms "
                f"({eager / compiled:.2f} times as fast, {share:.0%} of the matrix peak)"
            )


if __name__ == "__main__":
    main()
