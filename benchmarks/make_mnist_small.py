"""Make mnist-small.npz, the digits that come with the package, from the full MNIST.

    python -m benchmarks.make_mnist_small --data-dir FOLDER

The bytes are the same on every run (with the same versions of NumPy and zlib; the arrays in the
file are the same with any zlib).
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np

from minihash.datasets import mnist
from minihash.files import replacing

SEED = 2015  # the paper's year
TRAINING_ROWS = 12_000  # as many as the paper's MNIST variations have


def draw_rows(rows: int) -> np.ndarray:
    """Return which of `rows` training images are taken, int64 (12,000,), none of them twice."""
    return np.random.default_rng(SEED).permutation(rows)[:TRAINING_ROWS]


def make_arrays(data_dir: str | None) -> dict[str, np.ndarray]:
    """Return the arrays of the file by name: uint8 images (rows, 784) and labels (rows,)."""
    (images, labels), (test_images, test_labels) = mnist.read_source(mnist.MNIST, data_dir)
    rows = draw_rows(len(images))
    return {
        "train_images": images[rows],
        "train_labels": labels[rows].astype(np.uint8),
        "test_images": test_images,
        "test_labels": test_labels.astype(np.uint8),
    }


def main(argv: list[str] | None = None) -> None:
    """Write the file beside this module, or where `--output` says."""
    parser = argparse.ArgumentParser(description="Make mnist-small.npz from the full MNIST.")
    parser.add_argument("--data-dir", help="folder with MNIST's four idx files")
    parser.add_argument(
        "--output", type=Path, default=Path(mnist.__file__).with_name(mnist.SMALL_FILE), metavar="FILE"
    )
    args = parser.parse_args(argv)
    arrays = make_arrays(args.data_dir)
    with replacing(args.output) as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    content = args.output.read_bytes()
    print(f"{args.output}: {len(content)} bytes, SMALL_SHA256 = {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
