"""What C has a form of, by kind of layer: a `CLayer`, an `Activation`, or None.

`FORMS.register` takes forms of layers of one's own too.
"""

from __future__ import annotations

from typing import Any

from minihash.export.c.hashed import hashed
from minihash.export.c.layer import CLayer
from minihash.export.c.text import fill, template
from minihash.export.plan import Activation
from minihash.layers import Dropout, HashedLinear, Linear, QuantizedHashedLinear, ReLU, Sigmoid, Tanh
from minihash.layers.registry import Forms

FORMS: Forms[Any] = Forms("C")
FORMS.register(HashedLinear, QuantizedHashedLinear)(hashed)


@FORMS.register(Linear)
class Dense(CLayer):
    """The dense layer."""

    template = template("linear.c")

    def place(self) -> str:
        """Return the expression of where the weight of (i, j) is; a layer of one's own may share some."""
        return f"(size_t)i * {self.layer.in_features} + j"

    def fields(self) -> dict[str, Any]:
        return {**super().fields(), "place": self.place()}


def _activation(name: str, call: str) -> Activation:
    text = template("activations.c")
    return Activation(name, call, fill(text, name), fill(text, f"{name}_slope"))


FORMS.register(ReLU)(_activation("relu", "relu"))
FORMS.register(Tanh)(_activation("tanh", "tanhf"))
FORMS.register(Sigmoid)(_activation("sigmoid", "sigmoid"))
FORMS.register(Dropout)(None)  # it does nothing in predictions
