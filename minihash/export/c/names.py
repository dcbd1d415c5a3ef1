"""What the header says of inputs and classes: their names, and the probabilities of classes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from minihash.export.c.text import fill, strings, template
from minihash.network import Network

CLASSES = template("classes.h")
MOST_INPUTS = 100  # that are listed
ESCAPED = str.maketrans({"*": "\\x2a"})


def inputs_comment(network: Network) -> str:
    """Return a comment with the names of the inputs; "" where they are not known, or many."""
    names = network.schema.feature_names if network.schema else None
    if names is None or len(names) > MOST_INPUTS:
        return ""
    # Escaped: neither the end of the comment, nor another one in it, nor a trigraph.
    listed = ", ".join(ascii(name)[1:-1].translate(ESCAPED).replace("??", "?\\x3f") for name in names)
    text = textwrap.wrap(f"Inputs: {listed}.", 106, break_on_hyphens=False)
    return "/* " + "\n * ".join(text) + " */\n"


def classes_code(network: Network, floats: bool, common: dict[str, str]) -> str:
    """Return what the header has for a classifier; "" of what is not known to be one.

    Names are a macro and the function is inline, so that who does not use them has nothing of them in flash.
    There is no function where outputs are no `floats`.
    """
    if not is_classifier(network) or network.task is None:
        return ""
    count = 2 if network.task == "binary" else network.out_features
    parts = [fill(CLASSES, **common, classes=count)]
    if network.class_names is not None:
        lines = " \\\n".join(f"    {line}" for line in _literals(network.class_names))
        parts.append(fill(CLASSES, "names", **common, names=f"{lines} \\"))
    if not floats:
        return "\n" + "".join(parts)
    body = fill(CLASSES, network.task, **common).rstrip("\n")
    parts.append("\n" + fill(CLASSES, "probabilities", **common, body=body))
    return "\n" + "".join(parts)


def is_classifier(network: Network) -> bool:
    """Tell whether outputs are known to be of classes."""
    return network.task in ("binary", "classification", "multilabel")


def _literals(names: Sequence[str]) -> Iterator[str]:
    """Yield the lines of an initialiser; a long name takes several."""
    for name in names:
        if "\0" in name:
            raise ValueError(f"class_names has {name!r}, wanted names without NUL for C")
        *first, last = strings(name)
        yield from first
        yield f"{last},"
