"""BentoML as its documentation shows it: a batchable endpoint that takes images."""

import os
from typing import Any

import bentoml
from PIL import Image

from benchmarks.peers.common import load_network, predict, to_grey


@bentoml.service(workers=os.cpu_count() or 1, logging={"access": {"enabled": False}})
class Faces:
    def __init__(self) -> None:
        self.network = load_network()

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=60000, route="/predict")
    def answer(self, image: list[Image.Image]) -> list[dict[str, Any]]:
        return predict(self.network, [to_grey(one) for one in image])
