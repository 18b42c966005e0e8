"""FastAPI with the network in each uvicorn worker, called from its thread pool."""

from typing import Any

from fastapi import FastAPI, File

from benchmarks.peers.common import load_network, predict, to_array

app = FastAPI()
NETWORK = load_network()


@app.post("/predict")
def answer(image: bytes = File()) -> dict[str, Any]:
    return predict(NETWORK, [to_array(image)])[0]
