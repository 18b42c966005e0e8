"""Answers of a network to whole splits."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from search.data.faces import Faces
from search.training.bar import bar
from service.preprocess import standardize


def on_device(faces: Faces, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images as uint8 (N, 1, 48, 48) and labels as int64 (N,), both on the device."""
    images = torch.from_numpy(faces.images.copy())[:, None]
    return images.to(device), torch.from_numpy(faces.labels.copy()).to(device)


@torch.no_grad()
def predict_logits(network: nn.Module, images: Tensor, batch_size: int = 512) -> Tensor:
    """Logits, float32 (N, 7), of uint8 images (N, 1, 48, 48) on the network's device."""
    network.eval()
    parts = [
        network(standardize(part).contiguous(memory_format=torch.channels_last))
        for part in bar(torch.split(images, batch_size), "batches answered")
    ]
    return torch.cat(parts).float()


def measure(network: nn.Module, images: Tensor, labels: Tensor, unseen: Tensor) -> dict[str, float]:
    """How well a network does on held-out faces.

    Args:
        network: on the device of the others.
        images: uint8 (N, 1, 48, 48).
        labels: int64 (N,).
        unseen: bool (N,), whether an image is not also among those trained on.

    Returns:
        `validation_loss` in nats, `validation_accuracy`, 0 to 1, and, where there are unseen
        images, `unseen_accuracy`, that on them alone.
    """
    logits = predict_logits(network, images)
    right = (logits.argmax(1) == labels).float()
    figures = {
        "validation_loss": functional.cross_entropy(logits, labels).item(),
        "validation_accuracy": right.mean().item(),
    }
    if unseen.any():
        figures["unseen_accuracy"] = right[unseen].mean().item()
    return figures
