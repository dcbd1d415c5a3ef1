"""Docstrings as they are written here: after `name :` come words, and seldom a type."""

from __future__ import annotations

from typing import Any

from griffe import Extension

SECTIONS = ("parameters", "returns", "raises", "attributes")


class Described(Extension):
    """Makes a description of what the parser of NumPy's style takes for a type."""

    def on_instance(self, *, obj: Any, **arguments: Any) -> None:
        """Look at the docstring of whatever has been read."""
        if obj.is_alias or obj.docstring is None:
            return
        for section in obj.docstring.parsed:
            if section.kind.value not in SECTIONS:
                continue
            for item in section.value:
                words = str(item.annotation or "")
                if " " in words or not item.description:
                    item.description = "\n".join(filter(None, (words, item.description)))
                    item.annotation = None
