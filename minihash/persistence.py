"""Model files: safetensors with the architecture as metadata (docs/format.md).

A file holds the stored parameters, num_buckets floats a hashed layer, and no index: the hash is part
of the format. There is no pickle; loading a file runs nothing of it, and allocates a small multiple of its
size, whatever sizes it claims.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minihash import checks, schema
from minihash.files import naming, write_or_keep
from minihash.layers import HashedLinear, Layer, WeightLayer
from minihash.layers.registry import LAYERS, registered
from minihash.maps import BucketMap
from minihash.network import Network
from minihash.version import __version__

FORMAT = 2  # says tiles where the first one had maps
SCALED = 3  # the same with scaled outputs, which a reader of format 2 would not know
FORMATS = (1, FORMAT, SCALED)
MAX_LAYERS = 10_000
DTYPES = {"F32": np.dtype(np.float32), "F64": np.dtype(np.float64)}  # of layers
TENSORS = DTYPES | {"I8": np.dtype(np.int8), "U8": np.dtype(np.uint8)}


def save(network: Network, path: str | os.PathLike[str]) -> None:
    """Write a network to a safetensors file, all of it or nothing.

    Parameters
    ----------
    network : the network; its size in the file is about `network.nbytes`.
    path : where to; an existing file is replaced.

    Raises
    ------
    OSError if the file cannot be written (on a full disk it names where the network is kept instead);
    ValueError for a layer or dtype that the format does not know.
    """
    from safetensors.numpy import save as serialize

    if network.dtype not in DTYPES.values():
        raise ValueError(f"network has dtype {network.dtype}, wanted float32 or float64")
    for layer in network.layers:
        if not registered(layer):
            raise ValueError(f"network has a layer {type(layer).__name__} that model files do not know")
        if isinstance(layer, HashedLinear) and type(layer.bucket_map) is not BucketMap:
            name = type(layer.bucket_map).__name__
            raise ValueError(f"network has a map {name} that model files do not know")
    description = {
        "format": SCALED if network.scales_outputs else FORMAT,
        "engine": f"minihash {__version__}",
        "hash": "xxhash32",
        "layers": [{"type": type(layer).__name__, **layer.config()} for layer in network.layers],
        "input_scale": network.input_scale.tolist(),
        "input_shift": network.input_shift.tolist(),
        "class_names": network.class_names,
        "schema": None if network.schema is None else network.schema.as_dict(),
    }
    if network.scales_outputs:
        description["output_scale"] = network.output_scale.tolist()
        description["output_shift"] = network.output_shift.tolist()
    # safetensors writes the memory of an array as it lies, in Fortran order too: only contiguous ones.
    get = network.device.get
    tensors = {name: np.ascontiguousarray(get(array)) for name, array in network.params.items()}
    content = serialize(tensors, {"minihash": json.dumps(description, allow_nan=False)})
    write_or_keep(path, content)


def load(path: str | os.PathLike[str]) -> Network:
    """Read a network from a file that `save` wrote.

    Raises
    ------
    OSError if the file cannot be read; ValueError with its name if it is damaged, of an unknown format,
    or does not hold what its architecture wants.
    """
    from safetensors import SafetensorError

    try:
        with opened(path) as file:
            return _build(_description(file.metadata()), _Tensors(file))
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)}: not a safetensors file ({error})") from None
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open a safetensors file, as `safetensors.safe_open` does for NumPy.

    Raises OSError with the file's name, in the block too; SafetensorError as safetensors.
    """
    from safetensors import SafetensorError, safe_open

    with naming(path):
        with open(path, "rb") as start:
            start.read(1)  # the usual OSError for a file that is missing or unreadable
        try:
            with safe_open(path, framework="numpy") as file:
                yield file
        except (OSError, SafetensorError) as error:  # those of Rust tell their number in the text alone
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from None


class _Tensors:
    """The tensors of a file: what it says of their shapes, which safetensors checked against its size."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._slices = {name: file.get_slice(name) for name in file.keys()}
        self.names = set(self._slices)

    def check(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        if name not in self.names:
            raise ValueError(f"tensor {name!r} is missing, wanted shape {shape}")
        held, kind = tuple(self._slices[name].get_shape()), self._slices[name].get_dtype()
        if held != shape or TENSORS.get(kind) != dtype:
            raise ValueError(f"tensor {name!r} is {kind} of shape {held}, wanted {dtype} of shape {shape}")

    def read(self, name: str) -> np.ndarray:
        return self._file.get_tensor(name)


def _description(metadata: dict[str, str] | None) -> dict[str, Any]:
    """Return the architecture that the metadata describes, its outer form checked."""
    text = (metadata or {}).get("minihash")
    if text is None:
        raise ValueError("has no minihash metadata, wanted a file written by minihash.save")
    try:
        description = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("its minihash metadata is not JSON") from None
    format = description.get("format") if isinstance(description, dict) else None
    if type(format) is not int or format not in FORMATS:  # True == 1
        raise ValueError(f"has format {format!r}, wanted 1, 2 or 3: written by another minihash?")
    if description.get("hash") != "xxhash32":
        raise ValueError(f"has hash {description.get('hash')!r}, wanted 'xxhash32'")
    if not isinstance(description.get("layers"), list) or len(description["layers"]) > MAX_LAYERS:
        raise ValueError(f"its layers are not a list of at most {MAX_LAYERS}")
    return description


def _build(description: dict[str, Any], tensors: _Tensors) -> Network:
    format, scaling = description["format"], {}
    try:
        for name in ("output_scale", "output_shift"):
            if format == SCALED:
                scaling[name] = description[name]
            elif name in description:
                raise ValueError(f"has {name}, wanted none in a file of format {format}")
        layers = [
            _build_layer(f"{position}", config, tensors, format)
            for position, config in enumerate(description["layers"])
        ]
        network = Network(
            layers,
            input_scale=description["input_scale"],
            input_shift=description["input_shift"],
            **scaling,
            class_names=description["class_names"],
            schema=schema.from_dict(description.get("schema")),  # files before 0.2 have none
        )
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"its architecture is malformed ({type(error).__name__}: {error})") from None
    extra = tensors.names - network.params.keys()
    if extra:
        raise ValueError(f"tensor {min(extra)!r} belongs to no layer")
    return network


def _replace_map(prefix: str, arguments: dict[str, Any]) -> None:
    """Say `tile` where files of the first format say `map` and `window`; refuse windows."""
    map, window = arguments.pop("map"), arguments.pop("window")
    if map == "window":
        raise ValueError(f"layer {prefix} has the map 'window', which minihash had until 0.1: wanted tiles")
    if map != "element" or window is not None:
        raise ValueError(f"layer {prefix} has map {map!r} and window {window!r}, wanted 'element' and None")
    if "tile" in arguments:
        raise ValueError(f"layer {prefix} has a tile, wanted none in a file of format 1")
    arguments["tile"] = 1


def _build_layer(prefix: str, config: dict[str, Any], tensors: _Tensors, format: int) -> Layer:
    """Make one layer; nothing of the size it claims before the file is seen to hold it."""
    arguments = dict(config)
    name = arguments.pop("type")
    if name not in LAYERS:
        raise ValueError(f"layer {prefix} is of the type {name!r}, wanted one of {', '.join(LAYERS)}")
    kind = LAYERS[name]
    if issubclass(kind, HashedLinear) and format < FORMAT:
        _replace_map(prefix, arguments)
    checks.choice(f"dtype of layer {prefix}", arguments["dtype"], tuple(map(str, DTYPES.values())))
    if issubclass(kind, WeightLayer):
        dtypes = kind.param_dtypes(arguments)
        for param, shape in kind.param_shapes(arguments).items():
            tensors.check(f"{prefix}.{param}", shape, dtypes.get(param, np.dtype(arguments["dtype"])))
    layer = kind(**arguments)
    for name, value in layer.config().items():
        if name not in arguments:
            raise ValueError(f"layer {prefix} has no {name}")
        if arguments[name] != value:  # such as "auto", where a file holds the length
            raise ValueError(f"layer {prefix} has {name} {arguments[name]!r}, wanted {value!r}")
    for param, array in layer.params.items():
        array[...] = tensors.read(f"{prefix}.{param}")
    return layer
