"""Download the files of MNIST and Fashion-MNIST, so that only verified ones get their names."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from minihash import checks
from minihash.datasets import names
from minihash.datasets.mnist import SMALL, SOURCES, IdxFile, data_folders, find_file
from minihash.files import naming, replacing

TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 16
GZIP_OVERHEAD = 1 << 16  # bytes, generously, by which a .gz may exceed what is in it


class FetchError(OSError):
    """A file could not be downloaded, from any mirror, as it should be."""


def fetch(
    name: str, data_dir: str | os.PathLike[str] | None = None, mirror: str | None = None
) -> Path:
    """Download a data set's four files into the folder `data_dir/name`, and return that.

    Where stderr is a terminal, each has a bar. Those already there are skipped. A file gets its name only
    when it is complete and its raw bytes have the official sha256. The project's tests download from a server
    of their own, not from the public mirrors.

    name : "mnist" or "fashion-mnist".
    data_dir : by default the environment's MINIHASH_DATA, else the user's data folder.
    mirror : URL of a folder (http or https) to take the files from, in place of the public ones.

    Raises ValueError for an unknown name or kind of URL; FetchError if no mirror had the right file, or none
    could be reached; OSError if the folder cannot be written.
    """
    checks.choice("name", name, names())
    if name == SMALL:
        raise ValueError(f"{name} comes with the package, nothing to fetch")
    source = SOURCES[name]
    mirrors = source.mirrors if mirror is None else (mirror,)
    for url in mirrors:
        if not url.lower().startswith(("http://", "https://")):
            raise ValueError(f"mirror is {url!r}, wanted an http or https URL")

    folder = data_folders(data_dir)[0] / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.files:
        if not _is_there(file, folder):
            urls = [f"{url.rstrip('/')}/{file.name}.gz" for url in mirrors]
            _fetch_file(file, folder, urls)
    return folder


def _is_there(file: IdxFile, folder: Path) -> bool:
    """Tell whether `folder` holds the right `file`; a wrong one will be replaced."""
    if path := find_file(folder, file.name):
        with suppress(ValueError):
            file.read(path)
            return True
    return False


def _fetch_file(file: IdxFile, folder: Path, urls: list[str]) -> None:
    """Write `file`.gz into `folder` from the first URL that has the right bytes."""
    failures = []
    for url in urls:
        try:
            _fetch_url(file, folder, url)
            return
        except FetchError as error:
            failures.append(f"{url}: {error}")
    raise FetchError(f"cannot fetch {file.name}.gz from " + "; ".join(failures))


def _fetch_url(file: IdxFile, folder: Path, url: str) -> None:
    """Download `url`, verify it and give it its name; a FetchError says only what went wrong."""
    path = folder / f"{file.name}.gz"
    with replacing(path) as part:
        _download(url, part, file.nbytes + GZIP_OVERHEAD)
        part.flush()
        try:
            with naming(path, part.name):
                file.read(Path(part.name))
        except ValueError as error:
            raise FetchError(str(error).removeprefix(f"{part.name}: ")) from None


def _download(url: str, target: BinaryIO, limit: int) -> None:
    """Copy the body of `url` to `target`: whole, and not more than `limit` bytes of it."""
    from tqdm import tqdm

    with _network_errors():
        response = urllib.request.urlopen(url, timeout=TIMEOUT)
    promised, received = response.length, 0  # None where the server does not say
    bar = tqdm(desc=url.rpartition("/")[2], total=promised, unit="B", unit_scale=True, disable=None)
    with response, bar:
        while True:
            with _network_errors():
                chunk = response.read(CHUNK)
            if not chunk:
                break
            received += len(chunk)
            if received > limit:
                raise FetchError(f"sent more than {limit} bytes")
            target.write(chunk)
            bar.update(len(chunk))
    if promised is not None and received != promised:
        raise FetchError(f"ended after {received} of {promised} bytes")


@contextmanager
def _network_errors() -> Iterator[None]:
    """Turn what the network can raise into a FetchError, but not what a full disk raises."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise FetchError(f"HTTP {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise FetchError(str(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(f"{type(error).__name__}: {error}") from None
