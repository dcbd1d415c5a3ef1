"""Check what the README's main command printed: the figures that the README promises."""

import re
import sys
from pathlib import Path

LIMIT_ERROR = 4.6  # %: seed 0 in the README, and room for another BLAS; without learning it is 90
LIMIT_SECONDS = 120.0


def main() -> None:
    text = Path(sys.argv[1]).read_text()
    errors = [float(error) for error in re.findall(r"^test error: (\d+\.\d\d) %$", text, re.M)]
    seconds = [float(time) for time in re.findall(r"epochs in (\d+\.\d) s", text)]
    hashed, dense = errors
    assert hashed <= LIMIT_ERROR, f"test error {hashed} %, wanted <= {LIMIT_ERROR} %"
    assert dense > hashed + 1, f"the dense network of the same size is at {dense} %, hashed at {hashed} %"
    assert sum(seconds) <= LIMIT_SECONDS, f"training took {sum(seconds)} s, wanted <= {LIMIT_SECONDS} s"
    assert "stored: 49,688 bytes, dense: 3,180,040 bytes" in text, "stored against dense bytes"
    print(f"hashed {hashed} %, dense of the same size {dense} %, {sum(seconds):.0f} s")


if __name__ == "__main__":
    main()
