"""LitServe with batching, one worker process a core."""

import os
import sys
from typing import Any

import litserve
from fastapi import Request

from benchmarks.peers.common import load_network, predict, to_array


class FaceAPI(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.network = load_network()

    def decode_request(self, request: Request) -> Any:
        return to_array(request["image"].file.read())

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, x: list[Any]) -> list[dict[str, Any]]:
        return predict(self.network, x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    api = FaceAPI(max_batch_size=64, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=os.cpu_count() or 1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        generate_client_file=False,
    )
