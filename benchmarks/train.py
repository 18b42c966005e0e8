"""Images a second of the training engine beside a plain PyTorch loop, in one run.

The plain loop is what a tutorial shows: a DataLoader, torchvision transforms on each image,
float32, the loss read at every step. Both train the same network on the same faces with the
same augmentation, batch size and optimiser. Rounds alternate, so that a machine that slows
down slows both; the ratio of the medians is what to quote.

    python -m benchmarks.train --data fer2013 --network compact
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from benchmarks.provenance import tell_provenance
from search.config import NETWORKS, RECIPES
from search.data.faces import Faces
from search.data.splits import load_split
from search.stop import StopWish
from search.training.epoch import train_epoch
from search.training.inference import on_device
from search.training.plan import Plan, start
from search.training.step import make_step
from search.training.targets import make_targets
from service.device import pick_device, pick_precision
from service.network import NetworkConfig, build_network, count_flops

RECIPE = RECIPES["paper"]


class PlainFaces(Dataset[tuple[torch.Tensor, int]]):
    """Faces as a list of PIL images with transforms, the paper's augmentation among them or not."""

    def __init__(self, faces: Faces, augmented: bool) -> None:
        self.faces = faces
        augmentation = [
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(RECIPE.rotation, (RECIPE.shift,) * 2, (0.9, 1.1)),
        ]
        self.transform = v2.Compose(
            [
                v2.ToPILImage(),
                *(augmentation if augmented else []),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.5], [0.25]),
            ]
        )

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.faces.images[row]), int(self.faces.labels[row])


def prepare_plain(
    faces: Faces,
    config: NetworkConfig,
    device: torch.device,
    workers: int,
    *,
    augmented: bool = True,
) -> Callable[[], float]:
    """A function that trains one pass and returns its images a second."""
    network = build_network(config).to(device)
    optimizer = torch.optim.Adam(network.parameters(), RECIPE.learning_rate)
    loader = DataLoader(
        PlainFaces(faces, augmented),
        RECIPE.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )
    return lambda: train_plain(network, optimizer, loader, device)


def train_plain(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader[tuple[torch.Tensor, int]],
    device: torch.device,
) -> float:
    """One pass of the plain loop; images a second."""
    network.train()
    total, started = 0.0, time.perf_counter()
    for images, labels in loader:
        optimizer.zero_grad()
        loss = functional.cross_entropy(network(images.to(device)), labels.to(device))
        torch.autograd.backward(loss)
        optimizer.step()
        total += loss.item()
    return len(loader) * RECIPE.batch_size / (time.perf_counter() - started)


def prepare_engine(
    faces: Faces, config: NetworkConfig, device: torch.device, compiled: bool
) -> Callable[[], float]:
    """A function that trains one pass and returns its images a second."""
    plan = Plan(config, RECIPE, 0, faces.digest())
    run = start(plan, device)
    if compiled:
        run.compile()
    images, labels = on_device(faces, device)
    targets = make_targets(RECIPE, images, labels, ())
    step = make_step(run)
    return lambda: train_epoch(run, plan, step, images, labels, targets=targets, stop=StopWish())[
        "images_per_second"
    ]


def measure_peak(device: torch.device, seconds: float = 1.0) -> float:
    """FLOPs a second of a large matrix product in the engine's precision."""
    size = 8192 if device.type == "cuda" else 1024
    left, right = torch.rand(2, size, size, device=device, dtype=pick_precision(device))
    for _ in range(3):
        product = left @ right
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for _ in range(10):
            product = left @ right
        product[0, 0].item()
        count += 10
    return 2 * size**3 * count / (time.perf_counter() - started)


def compare(options: argparse.Namespace) -> dict[str, object]:
    """Alternate both, a warm-up round first."""
    device = pick_device(options.device)
    config = NETWORKS[options.network]
    faces = load_split(options.data, "train")
    rows = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))
    faces = faces.select(rows[: options.images].numpy())
    plain = prepare_plain(faces, config, device, options.workers)
    engine = prepare_engine(faces, config, device, options.compile)
    found: dict[str, list[float]] = {"plain": [], "engine": []}
    for _ in range(options.rounds + 1):
        found["plain"].append(plain())
        found["engine"].append(engine())
    medians = {name: statistics.median(values[1:]) for name, values in found.items()}
    # A backward pass costs twice a forward pass.
    flops = 3 * count_flops(config) * medians["engine"]
    return {
        "network": options.network,
        **tell_provenance(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "compiled": options.compile,
        "images": len(faces),
        "images_per_second": medians,
        "ratio": medians["engine"] / medians["plain"],
        "share_of_matmul_peak": flops / measure_peak(device),
    }


def main() -> None:
    """Print the comparison as JSON, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", choices=NETWORKS, default="compact")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=2560, help="faces a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true", help="fuse the engine's network")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    text = json.dumps(compare(options), indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
