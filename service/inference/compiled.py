"""The network as an ONNX graph for the CPU, made once when a model is published.

ONNX Runtime answers a single face in about half of PyTorch's time (its kernels take
weights laid out in advance), and batches in the same (benchmarks/network.py).
"""

import os
import tempfile
import warnings
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from service.artifact import Artifact
from service.inference.forward import Forward
from service.inference.golden import check_close
from service.log import LOG
from service.preprocess import IMAGE_SIZE

TOLERANCE: Final = 1e-4
"""Largest difference of a probability to PyTorch's; with more a graph is not trusted."""


def compiled_path(folder: Path, artifact: Artifact) -> Path:
    """Where a model's graph lies; named by its weights, so that no other model's is taken."""
    return folder / f"{artifact.card['weights_sha256'][:16]}.onnx"


def compile_network(network: nn.Module) -> bytes:
    """The graph: float32 (N, 1, 48, 48) to logits (N, 7).

    Raises:
        ImportError: the package onnx is missing.
    """
    example = torch.zeros(2, 1, IMAGE_SIZE, IMAGE_SIZE)
    with warnings.catch_warnings(), tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        # The newer exporter needs onnxscript, and gains nothing on these networks.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.cpu(),
            (example,),
            file.name,
            dynamo=False,
            input_names=["faces"],
            output_names=["logits"],
            dynamic_axes={"faces": {0: "count"}, "logits": {0: "count"}},
        )
        return Path(file.name).read_bytes()


def load_compiled(path: Path, reference: nn.Module, threads: int) -> Forward | None:
    """The graph of `open_compiled`; None where it is missing or not trusted, which is logged."""
    if not path.is_file():
        LOG.warning("no compiled network; PyTorch answers, more slowly")
        return None
    try:
        return open_compiled(path, reference, threads)
    # Whatever is wrong with the file, PyTorch can answer.
    except Exception as error:
        words = "PyTorch answers, more slowly, until it is published again and the server restarted"
        LOG.warning("the compiled network is unusable (%s); %s", error, words)
        return None


def open_compiled(path: Path, reference: nn.Module, threads: int) -> Forward:
    """The graph, ready to be called in place of the network.

    Args:
        path: a graph of `compile_network`.
        reference: the network, on the CPU; asked once, to compare.
        threads: for one forward pass.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ImportError: the package onnxruntime is missing.
        GoldenError: it answers otherwise than the network.
        Exception: whatever ONNX Runtime raises on a torn file.
    """
    forward = _open(path, threads)
    check_close(forward, reference, torch.device("cpu"), TOLERANCE)
    return forward


def _open(path: Path, threads: int) -> Forward:
    # Otherwise it reports its use, with an identifier that it keeps in the user's home.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Spinning threads would take the cores from decoding and from other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )

    def forward(batch: Tensor) -> Tensor:
        (logits,) = session.run(None, {"faces": batch.numpy()})
        return torch.from_numpy(logits)

    return forward
