"""Answers of a network to whole splits."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from search.data import Faces
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
        for part in torch.split(images, batch_size)
    ]
    return torch.cat(parts).float()


def measure(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Cross-entropy (nats) and accuracy (0 to 1) over a split."""
    logits = predict_logits(network, images)
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    return functional.cross_entropy(logits, labels).item(), accuracy
