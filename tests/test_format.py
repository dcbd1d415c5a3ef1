"""docs/format.md is true: its examples, and a reader of model files written from the page alone."""

from __future__ import annotations

import json
import math
import re
import struct
from pathlib import Path
from statistics import NormalDist
from typing import Any

import naive
import numpy as np
import pytest
from safetensors.numpy import save_file

import minihash
from benchmarks.paper.low_rank_linear import LowRankLinear, gaussian_factor
from benchmarks.paper.sparse_linear import SparseLinear
from minihash.hashing import xxhash32
from minihash.integers import integers_of, multiplier_of
from minihash.maps import BucketMap
from minihash.quantization import quantize

PAGE = (Path(__file__).parent.parent / "docs" / "format.md").read_text("utf-8")
NUM_BUCKETS = 12266
TILES = {"num_buckets": 10, "columns": 8, "tile": 3, "seed": 2015}


def examples(header: str) -> list[tuple[int, ...]]:
    """The rows of the table with this header."""
    (body,) = re.findall(rf"^{re.escape(header)}\n[|-]+\n((?:\|.*\|\n)+)", PAGE, re.M)
    rows = [line.strip("| ").split(" | ") for line in body.splitlines()]
    return [tuple(int(cell.replace("−", "-")) for cell in row) for row in rows]


ELEMENTS = examples("| i | j | seed | xxhash32 | s | bucket | sign | unsigned bucket |")
COLUMNS = examples("| j | d(j) | sign2(j) | p(j) | g(j) | u(j) |")
ROWS = examples("| i | g | xxhash32(i, g, seed) | τ(i, g) | sign1(i, g) | unsigned τ(i, g) |")
POSITIONS = examples("| i | j | bucket | sign | bucket, unsigned |")


def test_the_page_has_examples() -> None:
    assert len(ELEMENTS) == 7 and f"K = {NUM_BUCKETS}" in PAGE
    assert [len(table) for table in (COLUMNS, ROWS, POSITIONS)] == [TILES["columns"], 6, 5]
    assert "K = {num_buckets}, {columns} columns, B = {tile} and seed {seed}:".format(**TILES) in PAGE
    drawn = {(i, g): tile for i, g, _, tile, *_ in ROWS}
    assert 3 in drawn.values()  # the last tile, which overlaps the one before


@pytest.mark.parametrize("i, j, seed, hashed, s, bucket, sign, unsigned", ELEMENTS)
def test_examples(
    i: int, j: int, seed: int, hashed: int, s: int, bucket: int, sign: int, unsigned: int
) -> None:
    assert naive.xxhash32(i, j, seed) == xxhash32(i, j, seed) == hashed
    assert hashed * 2 * NUM_BUCKETS >> 32 == s
    assert (hashed << 1) % 2**32 * NUM_BUCKETS >> 32 == bucket and (hashed >> 31 == 1) == (sign < 0)
    assert naive.element(seed, NUM_BUCKETS)(i, j) == (bucket, sign)
    columns = max(1, min(j + 1, 2**32 - 1))
    assert BucketMap(NUM_BUCKETS, seed, columns)(i, j) == (bucket, sign)
    assert BucketMap(NUM_BUCKETS, seed, columns, signed=False)(i, j) == (unsigned, 1)


def test_examples_of_tiles() -> None:
    bucket_map, seed, tile = BucketMap(**TILES), TILES["seed"], TILES["tile"]
    for j, draw, sign, place, segment, offset in COLUMNS:
        assert naive.xxhash32(2**32 - 1, j, seed) == draw and (sign < 0) == draw % 2
        assert naive.tile_places(seed, 8)[j] == bucket_map.places[j] == place
        assert divmod(place, tile) == (segment, offset) and bucket_map.signs[j] == sign
    for i, g, hashed, drawn, sign, unsigned in ROWS:
        assert naive.xxhash32(i, g, seed) == hashed
        assert naive.signed_bucket(hashed, bucket_map.tiles, True) == (drawn, sign)
        assert naive.signed_bucket(hashed, bucket_map.tiles, False) == (unsigned, 1)
    assert (bucket_map.segments, bucket_map.tiles) == (3, 4)
    for i, j, bucket, sign, unsigned in POSITIONS:
        for signed, ref in ((True, (bucket, sign)), (False, (unsigned, 1))):
            assert naive.tiles(**TILES, signed=signed)(i, j) == ref
            assert BucketMap(**TILES, signed=signed)(i, j) == ref


def test_examples_of_sparse_layers() -> None:
    rows = re.findall(r"^\| (\d) \| ((?:\d+, ){7}\d+) \| ([\d, ]+) \|$", PAGE, re.M)
    layer = SparseLinear(8, 3, num_weights=7, seed=2015)
    kept = naive.kept_edges(2015, 7, 8, 3)
    assert [int(i) for i, *_ in rows] == [0, 1, 2]
    for i, (_, hashes, columns) in enumerate(rows):
        assert [naive.xxhash32(i, j, 2015) for j in range(8)] == [int(h) for h in hashes.split(", ")]
        ref = [int(j) for j in columns.split(", ")]
        assert kept[i] == layer.indices[layer.indptr[i] : layer.indptr[i + 1]].tolist() == ref


def test_examples_of_the_fixed_factor() -> None:
    number = r"(−?[\d.]+(?:e−\d+)?)"
    rows = re.findall(rf"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| {number} \|$", PAGE, re.M)
    assert len(rows) == 6
    for *integers, value in rows:
        r, j, seed, in_features, hashed = map(int, integers)
        ref = np.float32(value.replace("−", "-"))
        assert naive.xxhash32(r, j, seed) == hashed
        assert np.float32(NormalDist().inv_cdf((hashed + 0.5) / 2**32) / math.sqrt(in_features)) == ref
        if max(r, j) < 10:
            assert gaussian_factor(r + 1, max(in_features, j + 1), seed)[r, j] == ref


class Reader:
    """A reader of model files after docs/format.md, in plain Python."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        self.header = json.loads(content[8 : 8 + length])
        self.tensors = content[8 + length :]
        self.description = json.loads(self.header.pop("__metadata__")["minihash"])
        assert self.description["format"] in (1, 2, 3) and self.description["hash"] == "xxhash32"
        if self.description["format"] == 1:
            for layer in self.description["layers"]:
                if "Hashed" in layer["type"]:
                    assert (layer.pop("map"), layer.pop("window")) == ("element", None)
                    layer["tile"] = 1

    def tensor(self, name: str) -> list[Any]:
        entry = self.header[name]
        first, end = entry["data_offsets"]
        code, size = {"F32": ("f", 4), "F64": ("d", 8), "I8": ("b", 1), "U8": ("B", 1)}[entry["dtype"]]
        assert end - first == size * math.prod(entry["shape"])
        return list(struct.unpack(f"<{(end - first) // size}{code}", self.tensors[first:end]))

    def whole_outputs(self, row: list[float]) -> tuple[list[int], list[float]]:
        """The last sums of section 7, and the outputs before they are scaled."""
        first, *layers = self.description["layers"]
        shift, scale = self.description["input_shift"], self.description["input_scale"]
        numbers = [self.clipped(first, math.floor((x - shift) * scale / first["scale"] + 0.5)) for x in row]
        now, function, relu = first["scale"], None, False
        for position, layer in enumerate(layers, 1):
            if layer["type"] == "QuantizedHashedLinear":
                numbers, now = self.whole_sums(str(position), layer, numbers, now)
            elif layer["type"] == "ReLU":
                relu = True
            elif layer["type"] in ("Tanh", "Sigmoid"):
                function = getattr(self, layer["type"])
            elif layer["type"] == "Rounding":
                if function:
                    values = function("", layer, [x * now for x in numbers])
                    numbers = [math.floor(value / layer["scale"] + 0.5) for value in values]
                else:
                    f, e = math.frexp(now / layer["scale"])
                    m, n = round(f * 2**31), 31 - e
                    assert m < 2**31
                    numbers = [(z * m + (1 << n - 1)) >> n for z in numbers]
                numbers = [max(0, z) if relu else z for z in (self.clipped(layer, z) for z in numbers)]
                now, function, relu = layer["scale"], None, False
        return numbers, [z * now for z in numbers]

    def clipped(self, layer: dict, number: int) -> int:
        return min(max(number, layer["low"]), layer["high"])

    def whole_sums(self, name: str, layer: dict, row: list[int], now: float) -> tuple[list[int], float]:
        count, (scale,) = layer["out_features"], self.tensor(f"{name}.scale")
        product = self.element if layer["tile"] == 1 else self.tiles
        codes: list[Any] = self.codes(name, layer)
        if layer["bias"] != "hashed":
            biases = self.tensor(f"{name}.bias") if layer["bias"] == "free" else [0.0] * count
            whole = [math.floor(bias / (now * scale) + 0.5) for bias in biases]
            return [int(product(layer, codes, i, row)) + whole[i] for i in range(count)], now * scale
        one, nothing = math.floor(256 / now + 0.5), [0] * len(row)
        of_bias = [int(product(layer, codes, i, [*nothing, 1])) for i in range(count)]
        sums = [int(product(layer, codes, i, [*row, 0])) for i in range(count)]
        return [z + ((b * one + 128) >> 8) for z, b in zip(sums, of_bias)], now * scale

    def outputs(self, row: list[float]) -> list[float]:
        shift, scale = self.description["input_shift"], self.description["input_scale"]
        row = [(x - shift) * scale for x in row]
        for position, layer in enumerate(self.description["layers"]):
            row = getattr(self, layer["type"])(str(position), layer, row)
        if self.description["format"] < 3:
            return row
        scale, shift = (self.description[name] for name in ("output_scale", "output_shift"))
        scale, shift = (each if isinstance(each, list) else [each] * len(row) for each in (scale, shift))
        return [z * s + m for z, s, m in zip(row, scale, shift)]

    def HashedLinear(self, name: str, layer: dict, row: list[float]) -> list[float]:
        return self.hashed(name, layer, self.tensor(f"{name}.weight"), row)

    def QuantizedHashedLinear(self, name: str, layer: dict, row: list[float]) -> list[float]:
        (scale,) = self.tensor(f"{name}.scale")
        return self.hashed(name, layer, [scale * code for code in self.codes(name, layer)], row)

    def codes(self, name: str, layer: dict) -> list[int]:
        codes = self.tensor(f"{name}.codes")
        if layer["bits"] == 8:
            return codes
        halves = [half for byte in codes for half in (byte & 15, byte >> 4)]
        return [half - 8 for half in halves[: layer["num_buckets"]]]

    def hashed(self, name: str, layer: dict, weight: list[float], row: list[float]) -> list[float]:
        count = layer["out_features"]
        row = row + [1.0] if layer["bias"] == "hashed" else row
        bias = self.tensor(f"{name}.bias") if layer["bias"] == "free" else [0.0] * count
        product = self.element if layer["tile"] == 1 else self.tiles
        return [product(layer, weight, i, row) + bias[i] for i in range(count)]

    def signed_bucket(self, layer: dict, hashed: int, tiles: int | None = None) -> tuple[int, int]:
        k = tiles or layer["num_buckets"]
        if not layer["signed"]:
            return hashed * k >> 32, 1
        s = hashed * 2 * k >> 32
        return (s, 1) if s < k else (s - k, -1)

    def element(self, layer: dict, weight: list[float], i: int, row: list[float]) -> float:
        total = 0.0
        for j, x in enumerate(row):
            bucket, sign = self.signed_bucket(layer, naive.xxhash32(i, j, layer["seed"]))
            total += sign * weight[bucket] * x
        return total

    def tiles(self, layer: dict, weight: list[float], i: int, row: list[float]) -> float:
        every, seed, length, k = 2**32 - 1, layer["seed"], layer["tile"], layer["num_buckets"]
        draws = [naive.xxhash32(every, j, seed) for j in range(len(row))]
        total = 0.0
        for draw, x in zip(draws, row):
            segment, offset = divmod(sorted(draws).index(draw), length)
            hashed = naive.xxhash32(i, segment, seed)
            tile, sign = self.signed_bucket(layer, hashed, -(-k // length))
            sign = -sign if layer["signed"] and draw & 1 else sign
            total += sign * weight[min(tile * length, k - length) + offset] * x
        return total

    def SparseLinear(self, name: str, layer: dict, row: list[float]) -> list[float]:
        weights, outputs = iter(self.tensor(f"{name}.weight")), self.tensor(f"{name}.bias")
        each, more = divmod(layer["num_weights"], layer["out_features"])
        for i in range(layer["out_features"]):
            ranked = sorted(range(len(row)), key=lambda j: naive.xxhash32(i, j, layer["seed"]))
            for j in sorted(ranked[: each + (i < more)]):
                outputs[i] += next(weights) * row[j]
        assert not list(weights)
        return outputs

    def LowRankLinear(self, name: str, layer: dict, row: list[float]) -> list[float]:
        weight, outputs = self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")
        for r in range(layer["rank"]):
            projected = 0.0
            for j, x in enumerate(row):
                quantile = (naive.xxhash32(r, j, layer["seed"]) + 0.5) / 2**32
                entry = NormalDist().inv_cdf(quantile) / math.sqrt(len(row))
                projected += struct.unpack("<f", struct.pack("<f", entry))[0] * x
            for i in range(layer["out_features"]):
                outputs[i] += weight[i * layer["rank"] + r] * projected
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
@pytest.mark.parametrize(
    "kind",
    [
        {"compression": None},
        {"compression": 0.3},
        {"compression": 0.3, "tile": 2},
        {"compression": 0.5, "tile": 5},
        {"num_buckets": [6, 4], "tile": [6, 4]},
    ],
    ids=["dense", "element", "tiles", "long tiles", "a tile is all weights"],
)
def test_a_reader_from_the_page_alone(
    tmp_path: Path, activation: str, bias: str, signed: bool, kind: dict[str, Any]
) -> None:
    arguments = {"dropout": (0.1, 0.2), "seed": 5, "input_scale": 1 / 255, "input_shift": 7.0}
    network = minihash.mlp(
        [6, 5, 3],
        activation=activation,
        bias=bias,
        signed=signed,
        dtype=np.float64,
        **arguments,
        **kind,
    )
    for name, array in network.params.items():
        if name.endswith("bias"):
            array[...] = np.arange(len(array))
    inputs = np.random.default_rng(0).integers(0, 256, (4, 6))
    minihash.save(network, tmp_path / "model.safetensors")
    reader = Reader(tmp_path / "model.safetensors")
    ref = [reader.outputs(row) for row in inputs.tolist()]
    np.testing.assert_allclose(network.predict(inputs), ref, rtol=1e-12)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("bias", ["hashed", "free"])
@pytest.mark.parametrize("tile", [1, 2, 5])
def test_a_reader_of_quantised_layers_from_the_page_alone(
    tmp_path: Path, bits: int, bias: str, tile: int
) -> None:
    network = minihash.mlp([6, 5, 3], num_buckets=[9, 6], bias=bias, tile=tile, seed=5, dtype="f8")
    for name, array in network.params.items():
        if name.endswith("bias"):
            array[...] = np.arange(len(array))
    network = quantize(network, bits)
    inputs = np.random.default_rng(0).normal(size=(4, 6))
    minihash.save(network, tmp_path / "model.safetensors")
    reader = Reader(tmp_path / "model.safetensors")
    ref = [reader.outputs(row) for row in inputs.tolist()]
    np.testing.assert_allclose(network.predict(inputs), ref, rtol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("bias", ["hashed", "free", "none"])
@pytest.mark.parametrize("tile, bits", [(1, 8), (2, 4), (4, 8), (1, 4)])
@pytest.mark.parametrize("pixels", [True, False])
def test_a_reader_of_whole_numbers_from_the_page_alone(
    tmp_path: Path, activation: str, bias: str, tile: int, bits: int, pixels: bool
) -> None:
    scaling = {"input_scale": 1 / 255} if pixels else {"input_scale": 2.0, "input_shift": 0.5}
    sizes, more = [6, 5, 4, 3], {"dropout": (0.1, 0.2), "activation": activation, **scaling}
    network = minihash.mlp(sizes, num_buckets=[9, 7, 6], bias=bias, tile=tile, seed=5, **more)
    for name, array in network.params.items():
        if name.endswith("bias"):
            array[...] = np.arange(len(array)) / 8
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (40, 6)).astype("u1") if pixels else rng.normal(size=(40, 6))
    minihash.save(quantize(network, bits, rows=inputs), tmp_path / "model.safetensors")
    reader, loaded = Reader(tmp_path / "model.safetensors"), minihash.load(tmp_path / "model.safetensors")
    whole = integers_of(loaded.layers)
    scaled = (inputs - loaded.input_shift) * loaded.input_scale
    ref = [reader.whole_outputs(row) for row in inputs.tolist()]
    np.testing.assert_array_equal(whole.sums(whole.inputs(scaled)), [sums for sums, _ in ref])
    wanted = np.array([outputs for _, outputs in ref]).astype(np.float32)
    np.testing.assert_array_equal(loaded.predict(inputs), wanted)
    assert len(np.unique(wanted)) > 20


def test_examples_of_multipliers() -> None:
    rows = re.findall(r"^\| (\d\.\d+) \| (\d+) \| (\d+) \| (−?\d+) \| (−?\d+) \|$", PAGE, re.M)
    assert len(rows) == 3
    for ratio, *others in rows:
        m, n, z, rounded = (int(number.replace("−", "-")) for number in others)
        assert multiplier_of(float(ratio)) == (m, n) and (z * m + 2 ** (n - 1)) >> n == rounded


@pytest.mark.parametrize("scale, shift", [(2.5, -7.0), ([1.0, 2.0, 30.0], 0.0), (1.0, [1.7e9, 0.0, -3.0])])
def test_a_reader_of_scaled_outputs_from_the_page_alone(tmp_path: Path, scale: Any, shift: Any) -> None:
    network = minihash.mlp([6, 5, 3], compression=0.3, output_scale=scale, output_shift=shift, dtype="f8")
    inputs = np.random.default_rng(0).normal(size=(4, 6))
    minihash.save(network, tmp_path / "model.safetensors")
    reader = Reader(tmp_path / "model.safetensors")
    ref = [reader.outputs(row) for row in inputs.tolist()]
    assert reader.description["format"] == 3
    np.testing.assert_allclose(network.predict(inputs), ref, rtol=1e-12)


def test_a_reader_of_sparse_and_low_rank_layers_from_the_page_alone(tmp_path: Path) -> None:
    network = minihash.Network(
        [
            SparseLinear(6, 5, num_weights=13, seed=4, dtype="f8"),
            LowRankLinear(5, 3, rank=2, seed=5, dtype="f8"),
            SparseLinear(3, 4, num_weights=3, seed=6, dtype="f8"),
        ]
    )
    for name, array in network.params.items():
        if name.endswith("bias"):
            array[...] = np.arange(len(array))
    inputs = np.random.default_rng(0).normal(size=(4, 6))
    minihash.save(network, tmp_path / "model.safetensors")
    reader = Reader(tmp_path / "model.safetensors")
    ref = [reader.outputs(row) for row in inputs.tolist()]
    np.testing.assert_allclose(network.predict(inputs), ref, rtol=1e-12)


def test_a_reader_of_the_first_format_from_the_page_alone(tmp_path: Path) -> None:
    network = minihash.mlp([6, 5, 3], compression=0.3, seed=5, dtype="f8", input_shift=0.0)
    minihash.save(network, tmp_path / "new")
    reader = Reader(tmp_path / "new")
    for layer in reader.description["layers"]:
        if layer["type"] == "HashedLinear":
            assert layer.pop("tile") == 1
            layer |= {"map": "element", "window": None}
    tensors = {name: np.array(reader.tensor(name)) for name in reader.header}
    metadata = {"minihash": json.dumps(reader.description | {"format": 1})}
    save_file(tensors, tmp_path / "old", metadata)
    inputs = np.random.default_rng(0).normal(size=(4, 6))
    ref = [Reader(tmp_path / "old").outputs(row) for row in inputs.tolist()]
    for path in ("new", "old"):
        np.testing.assert_allclose(minihash.load(tmp_path / path).predict(inputs), ref, rtol=1e-12)
