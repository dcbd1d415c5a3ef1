"""The idx format of MNIST: a header with type and shape, then the array's bytes, often gzipped."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import stat
import struct
import zlib
from typing import BinaryIO

import numpy as np

from minihash.files import naming

#: The third byte of a file names the type of its items; multi-byte items are big-endian.
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

GZIP = b"\x1f\x8b"  # how a gzipped file starts
MAX_DIMENSIONS = 32  # the most that every NumPy can hold
CHUNK = 1 << 20


class DigestError(ValueError):
    """The bytes are not the ones wanted; `actual` is the sha256 that they have."""

    def __init__(self, message: str, actual: str) -> None:
        super().__init__(message)
        self.actual = actual


def read_idx(
    path: str | os.PathLike[str], *, sha256: str | None = None, max_bytes: int = 1 << 30
) -> np.ndarray:
    """Return the array of an idx file, gzipped or not: writable, in native byte order.

    The file is not trusted: memory grows with the bytes that are really there, and never beyond
    what the header promises.

    path : the file; its first bytes, not its name, tell whether it is gzipped.
    sha256 : hex digest that the raw bytes (uncompressed, header included) must have.
    max_bytes : refuse a file whose raw bytes are more than this.

    Raises ValueError if it is not a regular file, not idx, damaged, too large, or (DigestError) has other
    bytes than the digest says; OSError if it cannot be read.

    Source: the format's description on the MNIST page of LeCun, Cortes and Burges.
    """
    path = os.fspath(path)
    if not stat.S_ISREG(os.stat(path).st_mode):  # asked before opening: a FIFO would block
        raise ValueError(f"{path}: not a regular file, wanted an idx file")
    with naming(path), open(path, "rb") as file:
        is_zipped = file.read(2) == GZIP
        file.seek(0)
        try:
            return _read(gzip.GzipFile(fileobj=file) if is_zipped else file, sha256, max_bytes)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: damaged gzip file ({error})") from None
        except DigestError as error:
            raise DigestError(f"{path}: {error}", error.actual) from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _read(stream: BinaryIO | gzip.GzipFile, sha256: str | None, max_bytes: int) -> np.ndarray:
    """Read one array from the raw bytes of `stream`; errors do not name the file."""
    header, dtype, shape = _read_header(stream)
    # A dimension of 0 must not hide another too large for NumPy: count it as 1.
    if len(header) + dtype.itemsize * math.prod(max(n, 1) for n in shape) > max_bytes:
        raise ValueError(f"header promises shape {shape}, wanted at most {max_bytes} bytes")

    promised = dtype.itemsize * math.prod(shape)
    data = bytearray()
    # One byte more than promised: it would be one too many, and asking for it checks gzip's CRC.
    while chunk := stream.read(min(CHUNK, promised + 1 - len(data))):
        data += chunk
    if len(data) != promised:
        held = "more" if len(data) > promised else str(len(data))
        raise ValueError(f"header promises {promised} bytes of data, the file holds {held}")

    if sha256 is not None:
        digest = hashlib.sha256(header)
        digest.update(data)
        if sha256 != (actual := digest.hexdigest()):
            raise DigestError(f"sha256 is {actual[:12]}..., wanted {sha256[:12]}...", actual)
    array = np.frombuffer(data, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_header(stream: BinaryIO | gzip.GzipFile) -> tuple[bytes, np.dtype, tuple[int, ...]]:
    """Return the header's bytes, the type of the items and the shape."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES:
        raise ValueError(f"starts with the bytes {magic.hex(' ') or '(none)'}, wanted an idx file")
    dimensions = magic[3]
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise ValueError(f"has {dimensions} dimensions, wanted 1 to {MAX_DIMENSIONS}")
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise ValueError("ends within the header")
    return magic + sizes, np.dtype(TYPES[magic[2]]), struct.unpack(f">{dimensions}I", sizes)
