"""Networks for elsewhere: `to_c` writes one as C99 for a device."""

from minihash.export.c import to_c

__all__ = ["to_c"]
