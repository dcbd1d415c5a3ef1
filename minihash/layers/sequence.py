"""Layers in sequence: whether they fit together."""

from __future__ import annotations

from minihash.layers.base import Layer


def check_sequence(layers: list[Layer]) -> tuple[int | None, int | None]:
    """Return the first in_features and the last out_features; refuse layers that do not fit together."""
    if not layers:
        raise ValueError("layers is empty, wanted at least one layer")
    first: int | None = None
    width: int | None = None
    seeds: dict[int, int] = {}
    for position, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise ValueError(f"layers[{position}] is {layer!r}, wanted a Layer")
        if any(layer is other for other in layers[:position]):
            raise ValueError(f"layers[{position}] is there twice, wanted each layer once")
        if layer.dtype != layers[0].dtype:
            wanted = f"wanted {layers[0].dtype} as layers[0]"
            raise ValueError(f"layers[{position}] has dtype {layer.dtype}, {wanted}")
        if layer.device is not layers[0].device:
            wanted = f"wanted {layers[0].device} as layers[0]"
            raise ValueError(f"layers[{position}] is on {layer.device}, {wanted}")
        if None not in (width, layer.in_features) and layer.in_features != width:
            wanted = f"wanted {width}, the outputs of the layer before it"
            raise ValueError(f"layers[{position}] has in_features {layer.in_features}, {wanted}")
        if layer.hashed:
            same = seeds.setdefault(layer.seed, position)
            if same != position:
                given = f"layers[{position}] has seed {layer.seed}, as layers[{same}]"
                raise ValueError(f"{given}: wanted a seed of its own for each hashed layer")
        first = layer.in_features if first is None else first
        width = layer.out_features if layer.out_features is not None else width
    return first, width
