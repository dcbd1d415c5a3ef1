"""Compare notebooks, as text and executed: the same cells, each run, none with an error."""

import sys
from pathlib import Path

import jupytext

LIMIT = 700_000  # bytes


def main() -> None:
    """Look at a folder of notebooks; exit with a message if something is off."""
    texts = sorted(Path(sys.argv[1]).glob("*.py"))
    assert texts, f"no notebooks in {sys.argv[1]}"
    for text in texts:
        executed = text.with_suffix(".ipynb")
        assert executed.stat().st_size <= LIMIT, f"{executed} has more than {LIMIT:,} bytes"
        wanted, found = jupytext.read(text).cells, jupytext.read(executed).cells
        sources = [[(cell.cell_type, cell.source) for cell in cells] for cells in (wanted, found)]
        assert sources[0] == sources[1], f"{executed} is not of {text}: execute it again"
        code = [cell for cell in found if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in code), f"{executed} has cells that were not run"
        kinds = {output.output_type for cell in code for output in cell.outputs}
        assert "error" not in kinds, f"{executed} has an error in it"
        assert "display_data" in kinds or "execute_result" in kinds, f"{executed} shows nothing"
        print(f"{executed}: {len(code)} cells, {executed.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
