"""The table of targets, in which `minihash export --format` looks: each registers itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import minihash.export

TARGETS: dict[str, Target] = {}


@dataclass(frozen=True)
class Target:
    """A format that networks are written in.

    Attributes
    ----------
    name : what `--format` calls it.
    write : writes a network, `write(network, path, **options)`, and returns what to tell the user.
    about : what it writes, in a few words.
    options : the keywords of `write` that the command takes, each with the arguments that argparse wants for
        its option. What is not given is not passed on: defaults are those of `write`.
    folder : whether `path` is a folder, which is made if it is missing; else it is a file.
    """

    name: str
    write: Callable[..., Any]
    about: str
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    folder: bool = False


def register(target: Target) -> None:
    """Make a target a `--format`.

    Raises
    ------
    ValueError if the name is taken, or if an option of that name is another one elsewhere.
    """
    for other in TARGETS.values():
        if other.name == target.name:
            raise ValueError(f"a target {target.name!r} is registered already, wanted another name")
        for name in other.options.keys() & target.options.keys():
            if other.options[name] != target.options[name]:
                raise ValueError(f"option {name!r} of {target.name} is another one than that of {other.name}")
    TARGETS[target.name] = target


def targets() -> dict[str, Target]:
    """Return the targets by their names: those of the package, and what else has been registered."""
    for module in pkgutil.iter_modules(minihash.export.__path__):
        if module.ispkg:
            importlib.import_module(f"minihash.export.{module.name}")
    return TARGETS
