"""docs/format.md is true: its examples, and a reader of model files written from the page alone."""

from __future__ import annotations

import json
import math
import re
import struct
from pathlib import Path

import naive
import numpy as np
import pytest

import minihash
from minihash.hashing import ElementMap, xxhash32

PAGE = Path(__file__).parent.parent / "docs" / "format.md"
EXAMPLE = r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| ([+−]1) \| (\d+) \|$"
NUM_BUCKETS = 12266


def examples() -> list[tuple[int, ...]]:
    rows = re.findall(EXAMPLE, PAGE.read_text(), re.M)
    return [tuple(int(cell.replace("−", "-")) for cell in row) for row in rows]


def test_the_page_has_examples() -> None:
    assert len(examples()) == 7 and f"K = {NUM_BUCKETS}" in PAGE.read_text()


@pytest.mark.parametrize("i, j, seed, hashed, s, bucket, sign, unsigned", examples())
def test_examples(
    i: int, j: int, seed: int, hashed: int, s: int, bucket: int, sign: int, unsigned: int
) -> None:
    assert naive.xxhash32(i, j, seed) == xxhash32(i, j, seed) == hashed
    assert hashed * 2 * NUM_BUCKETS >> 32 == s
    assert [int(x[0]) for x in ElementMap(NUM_BUCKETS, seed)(i, j)] == [bucket, sign]
    assert [int(x[0]) for x in ElementMap(NUM_BUCKETS, seed, signed=False)(i, j)] == [unsigned, 1]


class Reader:
    """A reader of model files after docs/format.md, in plain Python."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        self.header = json.loads(content[8 : 8 + length])
        self.tensors = content[8 + length :]
        self.description = json.loads(self.header.pop("__metadata__")["minihash"])
        assert self.description["format"] == 1 and self.description["hash"] == "xxhash32"

    def tensor(self, name: str) -> list[float]:
        entry = self.header[name]
        first, end = entry["data_offsets"]
        code, size = {"F32": ("f", 4), "F64": ("d", 8)}[entry["dtype"]]
        assert end - first == size * math.prod(entry["shape"])
        return list(struct.unpack(f"<{(end - first) // size}{code}", self.tensors[first:end]))

    def outputs(self, row: list[float]) -> list[float]:
        shift, scale = self.description["input_shift"], self.description["input_scale"]
        row = [(x - shift) * scale for x in row]
        for position, layer in enumerate(self.description["layers"]):
            row = getattr(self, layer["type"])(str(position), layer, row)
        return row

    def HashedLinear(self, name: str, layer: dict, row: list[float]) -> list[float]:
        weight = self.tensor(f"{name}.weight")
        outputs = []
        for i in range(layer["out_features"]):
            virtual = []
            for j in range(layer["in_features"] + 1):
                hashed, k = naive.xxhash32(i, j, layer["seed"]), layer["num_buckets"]
                if layer["signed"]:
                    s = hashed * 2 * k >> 32
                    virtual.append(weight[s] if s < k else -weight[s - k])
                else:
                    virtual.append(weight[hashed * k >> 32])
            bias = {"hashed": lambda: virtual[-1], "none": lambda: 0.0}.get(
                layer["bias"], lambda: self.tensor(f"{name}.bias")[i]
            )
            outputs.append(sum(v * x for v, x in zip(virtual, row)) + bias())
        return outputs

    def Linear(self, name: str, layer: dict, row: list[float]) -> list[float]:
        weight, width = self.tensor(f"{name}.weight"), layer["in_features"]
        bias = self.tensor(f"{name}.bias") if layer["bias"] else [0.0] * layer["out_features"]
        rows = [weight[i * width : (i + 1) * width] for i in range(layer["out_features"])]
        return [sum(v * x for v, x in zip(rows[i], row)) + bias[i] for i in range(len(rows))]

    def ReLU(self, name: str, layer: dict, row: list[float]) -> list[float]:
        return [max(x, 0.0) for x in row]

    def Tanh(self, name: str, layer: dict, row: list[float]) -> list[float]:
        return [math.tanh(x) for x in row]

    def Sigmoid(self, name: str, layer: dict, row: list[float]) -> list[float]:
        return [1 / (1 + math.exp(-x)) for x in row]

    def Dropout(self, name: str, layer: dict, row: list[float]) -> list[float]:
        return row


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("bias", ["hashed", "free", "none"])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("compression", [0.3, None])
def test_a_reader_from_the_page_alone(
    tmp_path: Path, activation: str, bias: str, signed: bool, compression: float | None
) -> None:
    arguments = {"dropout": (0.1, 0.2), "seed": 5, "input_scale": 1 / 255, "input_shift": 7.0}
    network = minihash.mlp(
        [6, 5, 3],
        compression=compression,
        activation=activation,
        bias=bias,
        signed=signed,
        dtype=np.float64,
        **arguments,
    )
    for name, array in network.params.items():
        if name.endswith("bias"):
            array[...] = np.arange(len(array))
    inputs = np.random.default_rng(0).integers(0, 256, (4, 6))
    minihash.save(network, tmp_path / "model.safetensors")
    reader = Reader(tmp_path / "model.safetensors")
    ref = [reader.outputs(row) for row in inputs.tolist()]
    np.testing.assert_allclose(network.predict(inputs), ref, rtol=1e-12)
