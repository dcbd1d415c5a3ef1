"""Kinds of layers: which of them are known by name, and what others have for each.

A layer says what others must know of it in its class (`Layer.hashed`, `Layer.activation`, …), and registers
itself. Whoever has something for some kinds alone, such as a target of exports, has `Forms`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from minihash.layers.base import Layer

Kind = TypeVar("Kind", bound=type[Layer])
Form = TypeVar("Form")

#: Every registered kind, by its name in files.
LAYERS: dict[str, type[Layer]] = {}


def register(kind: Kind) -> Kind:
    """Make a kind of layer known by its class's name: files hold and load it.

    It is a decorator of the class. `kind(**layer.config())` must make a layer of the same shapes: nothing
    else of a layer is in a file but its parameters.

    Raises
    ------
    ValueError if another class has this name. The same class defined anew, as by a cell of a notebook that is
    run again, takes its own place.
    """
    before = LAYERS.setdefault(kind.__name__, kind)
    if (before.__module__, before.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ValueError(f"a layer {kind.__name__} is registered already, wanted another name")
    LAYERS[kind.__name__] = kind
    return kind


def registered(layer: Layer) -> bool:
    """Tell whether a layer's own class is registered; a subclass of a registered one is not."""
    return LAYERS.get(type(layer).__name__) is type(layer)


def activations() -> dict[str, type[Layer]]:
    """Return the registered activations by their names for `mlp(activation=)`."""
    return {kind.activation: kind for kind in LAYERS.values() if kind.activation}


class Forms(Generic[Form]):
    """What a target has for each kind of layer, by its exact class: a subclass may compute something else.

    Parameters
    ----------
    target : its name, for messages.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self._forms: dict[type[Layer], Form] = {}

    def register(self, *kinds: type[Layer]) -> Callable[[Form], Form]:
        """Return a decorator of a function or class that is the form of some kinds."""

        def add(form: Form) -> Form:
            self._forms.update(dict.fromkeys(kinds, form))
            return form

        return add

    def __iter__(self) -> Iterator[type[Layer]]:
        return iter(self._forms)

    def __contains__(self, kind: object) -> bool:
        return kind in self._forms

    def of(self, layer: Layer, place: str = "layer") -> Form:
        """Return the form of a layer.

        Raises
        ------
        ValueError with the layer's `place` if the target has none.
        """
        return self.of_kind(type(layer), place)

    def of_kind(self, kind: type[Layer], place: str = "layer") -> Form:
        """Return the form of layers of a kind, or raise as `of` does."""
        if kind not in self._forms:
            names = ", ".join(known.__name__ for known in self)
            wanted = f"layers that {self.target} has a form of: {names}"
            raise ValueError(f"{place} is a {kind.__name__}, wanted {wanted}")
        return self._forms[kind]
