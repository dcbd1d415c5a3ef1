"""Check what the README's main command printed, that the README says the same, and how long it took."""

import re
import sys
from pathlib import Path

LIMIT_ERROR = 4.6  # %: 4.33 in the README, of tiles, and room for another BLAS; without learning it is 90
LIMIT_DIFFERENCE = 0.5  # %: between the README's errors and those of this processor
LIMIT_SECONDS = 240  # start to end, three networks; it takes half of it on two cores with nothing else to do


def main() -> None:
    """Read the log and the seconds from the command line; exit with a message if something is off."""
    text, seconds = Path(sys.argv[1]).read_text(), int(sys.argv[2])
    hashed, tiles, dense = (float(error) for error in re.findall(r"^test error: (\d+\.\d\d) %$", text, re.M))
    assert hashed <= LIMIT_ERROR, f"test error {hashed} %, wanted <= {LIMIT_ERROR} %"
    assert tiles <= LIMIT_ERROR, f"test error of tiles {tiles} %, wanted <= {LIMIT_ERROR} %"
    assert dense > hashed + 1, f"the dense network of the same size is at {dense} %, hashed at {hashed} %"
    assert seconds <= LIMIT_SECONDS, f"the main job took {seconds} s, wanted <= {LIMIT_SECONDS} s"
    assert "stored: 49,688 bytes, dense: 3,180,040 bytes" in text, "no line of stored against dense bytes"
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    said = [float(error) for error in re.findall(r"^(?:hashed|tiles|dense) .* (\d+\.\d\d) % ", readme, re.M)]
    found = [hashed, tiles, dense]
    near = len(said) == 3 and max(abs(a - b) for a, b in zip(said, found)) <= LIMIT_DIFFERENCE
    assert near, f"README.md says {said} %, the main job ended in {found} %"
    print(f"main job: hashed {hashed} %, tiles {tiles} %, dense of the same size {dense} %, {seconds} s")


if __name__ == "__main__":
    main()
