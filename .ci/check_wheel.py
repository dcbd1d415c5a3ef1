"""Look at a wheel: what is in it, and how large it is."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

LIMIT = 4_100_000  # bytes, of which the digits take 3.6 million


def main() -> None:
    """Read the wheel and the checkout it was built from; exit with a message if something is off."""
    wheel, checkout = Path(sys.argv[1]), Path(sys.argv[2])
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    tracked = subprocess.run(
        ["git", "-C", checkout, "ls-files", "minihash"], capture_output=True, text=True, check=True
    ).stdout.split()
    packed = {name for name in sizes if ".dist-info/" not in name}
    missing, extra = set(tracked) - packed, packed - set(tracked)
    assert not missing, f"not in the wheel: {', '.join(sorted(missing))}"
    assert not extra, f"in the wheel and not in the repository: {', '.join(sorted(extra))}"
    version = re.search(r'__version__ = "(.*)"', (checkout / "minihash/version.py").read_text()).group(1)
    assert wheel.name == f"minihash-{version}-py3-none-any.whl", f"{wheel.name}, wanted version {version}"
    size, installed = wheel.stat().st_size, sum(sizes.values())
    assert size <= LIMIT, f"the wheel has {size:,} bytes, wanted <= {LIMIT:,}"
    largest = ", ".join(f"{name} {sizes[name]:,}" for name in sorted(sizes, key=sizes.get)[:-4:-1])
    print(f"{wheel.name}: {size:,} bytes, installed {installed:,}; the largest: {largest}")


if __name__ == "__main__":
    main()
