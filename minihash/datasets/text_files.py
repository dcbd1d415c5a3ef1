"""Byte order marks of text files: that of UTF-8 is passed over, those of other encodings are refused."""

from __future__ import annotations

import codecs
import os

from minihash.files import naming

#: In this order: the mark of UTF-32 begins with that of UTF-16.
OTHERS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
MARK = 4  # bytes, at most


def without_mark(path: str | os.PathLike[str], start: bytes) -> bytes:
    """Return how a text file starts, without the byte order mark of UTF-8, as Excel writes it.

    Parameters
    ----------
    path : of the file, for the message.
    start : its first bytes, MARK of them if it has as many.

    Raises
    ------
    ValueError if the mark says that it is UTF-16 or UTF-32.
    """
    for mark, encoding in OTHERS.items():
        if start.startswith(mark):
            raise ValueError(f"{os.fspath(path)}: is in {encoding}, wanted UTF-8: save it as that")
    return start.removeprefix(codecs.BOM_UTF8)


def encoding_of(path: str | os.PathLike[str]) -> str:
    """Return Python's name for the encoding of a text file: UTF-8 if it has that mark, else plain bytes.

    Raises
    ------
    ValueError if the mark says that it is UTF-16 or UTF-32; OSError if it cannot be read.
    """
    with naming(path), open(path, "rb") as file:
        start = file.read(MARK)
    return "latin-1" if without_mark(path, start) == start else "utf-8-sig"
