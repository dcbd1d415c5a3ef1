"""Mutation testing: change an operator or a number of a module at a time, and see whether quick tests notice.

    pip install '.[mutation]'
    python -m benchmarks.mutants schedules optimizers --folder /tmp/mutants

cosmic-ray mutates each module in a clone of its own (of what is committed), so several commands may run at
once. Results stand in FOLDER/MODULE-….sqlite: the same command goes on where it was killed, and tries the
survivors again, with the tests committed meanwhile. A module that has changed begins anew. It prints a table
in Markdown, and every survivor by place; docs/testing.md says what they are.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import os
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
DEVICES = "tests/test_devices.py::test_"
MATRIX = "tests/layers/test_virtual_matrix.py tests/layers/test_multiplications.py"
MEASURED = "tests/test_training.py tests/test_sources.py"
SETTINGS = "tests/test_training_settings.py"
FIT = f"{SETTINGS} tests/test_interrupts.py tests/test_training.py"
RESUMED = "tests/test_checkpoint.py -k 'not (ends_in or number_of or cover or learns) or 30-dropout'"
TOLD = "-k 'said or history or divergence or resumed or callbacks'"
#: What pytest is told to test a module.
TESTS = {
    "schedules": "tests/test_schedules.py",
    "optimizers": f"tests/test_optimizers.py {DEVICES}an_optimizer_does_not_follow_a_network",
    "maps": "tests/test_maps.py",
    "hashing": "tests/test_hashing.py tests/test_maps.py",
    "metrics": "tests/test_metrics.py -k 'not scikit'",
    "callbacks": "tests/test_callbacks.py",
    "virtual_matrix": f"{MATRIX} tests/layers/test_tiles.py -k 'not numba and not fused'",
    "kernels.numpy_cpu": "tests/kernels/test_kernels.py -k 'not numba'",
    "kernels.shared_numpy": "tests/kernels/test_shared.py -k 'not numba'",
    **{f"losses.{name}": "tests/test_losses.py" for name in "base distilled squared".split()},
    "losses.binary": "tests/test_losses.py -k 'not softmax and not distill and not squared'",
    "losses.softmax": "tests/test_losses.py -k 'not binary and not distill and not squared'",
    "losses.targets": f"tests/test_losses.py {DEVICES}losses_move_targets_to_the_outputs",
    "training.evaluation": f"{MEASURED} -k 'evaluat or loss or measure or cores or scores'",
    "training.history": f"{FIT} tests/test_undefined_figures.py {TOLD}",
    "training.progress": f"{SETTINGS} tests/test_training.py -k 'line or bar or progress'",
    "training.plan": f"{FIT} tests/test_network_memory.py {RESUMED}",
    "training.tasks": "tests/test_schema.py",
    **{f"training.{name}": f"{FIT} {RESUMED}" for name in "gradients interrupts loop".split()},
    **{f"training.{name}": f"{SETTINGS} {RESUMED}" for name in "checkpoint resumption".split()},
    "training.shards": "tests/test_distributed.py -m slow -k 'every_row or every_shard or adds_its_nodes'",
}
#: Not tried: what nobody could tell from the original (None and small integers are equal where they are
#: identical), what any call refuses (bits of floats, None < None), and rare ones for + − · /.
TRIVIAL = [
    "core/ReplaceComparisonOperator_Is_(?!IsNot)",
    "core/ReplaceComparisonOperator_IsNot_(?!Is$)",
    "core/ReplaceComparisonOperator_(?!Is).*_Is(Not)?$",
    "core/ReplaceBinaryOperator_.*_(FloorDiv|Mod|Pow)$",
    "core/ReplaceBinaryOperator_(Add|Sub|Mul|Div|FloorDiv|Mod|Pow)_(.Shift|Bit.*)",
    "core/ReplaceBinaryOperator_(.Shift|Bit.*)_(Add|Sub|Mul|Div|FloorDiv|Mod|Pow)",
]
SKIP = """INSERT OR REPLACE INTO work_results (job_id, worker_outcome) SELECT job_id, 'SKIPPED'
    FROM mutation_specs WHERE (start_pos_row, start_pos_col) BETWEEN (?, ?) AND (?, ?)"""
TRIED = """SELECT start_pos_row, test_outcome, diff FROM mutation_specs JOIN work_results USING (job_id)
    WHERE worker_outcome != 'SKIPPED' ORDER BY 1"""
#: pytest, where no property looks for the smallest example that fails: a minute for some mutants.
RUN = (
    "import sys, pytest; from hypothesis import Phase, settings; "
    "settings.register_profile(__name__, phases=[Phase.explicit, Phase.generate]); "
    "settings.load_profile(__name__); sys.exit(pytest.main())"  # from which conftest.py takes the phases
)
#: Few examples; no kernels that would be compiled anew for every mutant of what they call; no plugins.
ENVIRONMENT = {"MINIHASH_PROFILE": "dev", "MINIHASH_KERNELS": "numpy", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def clone_of(module: str, folder: Path) -> Path:
    """Return a clone of the checkout, at its commit."""
    clone = folder / module  # git makes the folder
    if not clone.exists():
        subprocess.run(["git", "clone", "-q", CHECKOUT, clone], check=True)
    head = subprocess.check_output(["git", "-C", CHECKOUT, "rev-parse", "HEAD"], text=True).strip()
    for command in (["fetch", "-q", "origin", head], ["reset", "-q", "--hard", head]):
        subprocess.run(["git", "-C", clone, *command], check=True)  # a kill leaves a mutant behind
    # By content: a mutant may have the time and the size of what it was made of.
    compiled = ["compileall", "-q", "--invalidation-mode", "checked-hash", "minihash", "tests"]
    subprocess.run([sys.executable, "-m", *compiled], cwd=clone, check=True)
    return clone


def mutate(module: str, clone: Path, bin: Path) -> Path:
    """Try all mutants of a module that were not tried, or survived; return the database of results."""
    source = (clone / path_of(module)).read_bytes()
    session = clone.with_name(f"{module}-{hashlib.sha256(source).hexdigest()[:8]}.sqlite")
    options = "-x -q -p no:cacheprovider --assert=plain".split()
    tests = [sys.executable, "-c", RUN, *options, *shlex.split(TESTS[module])]
    subprocess.run(tests, cwd=clone, check=True)
    config = session.with_suffix(".toml")
    config.write_text(f"""[cosmic-ray]
module-path = "{path_of(module)}"
timeout = 30
excluded-modules = []
test-command = '''{shlex.join(tests)} '''
distributor.name = "local"
filters.operators-filter.exclude-operators = {TRIVIAL}
""")
    if not session.exists():
        (new := session.with_suffix(".new")).unlink(missing_ok=True)
        subprocess.run([bin / "cosmic-ray", "init", config, new], cwd=clone, check=True)
        subprocess.run([bin / "cr-filter-operators", new, config], cwd=clone, check=True)
        skip_annotations(new, ast.parse(source))
        new.rename(session)
    query(session, "DELETE FROM work_results WHERE test_outcome = 'SURVIVED'")
    subprocess.run([bin / "cosmic-ray", "exec", config, session], cwd=clone, check=True)
    return session


def path_of(module: str) -> str:
    return f"minihash/{module.replace('.', '/')}.py"


def query(session: Path, statement: str, values: tuple = ()) -> list[tuple]:
    """Run a statement on a database of cosmic-ray, and write what it does."""
    with contextlib.closing(sqlite3.connect(session, isolation_level=None)) as database:
        return database.execute(statement, values).fetchall()


def skip_annotations(session: Path, tree: ast.AST) -> None:
    """Mark mutants of type annotations as skipped: nobody evaluates these."""
    for part in (getattr(node, name, None) for node in ast.walk(tree) for name in ("annotation", "returns")):
        if isinstance(part, ast.expr):
            query(session, SKIP, (part.lineno, part.col_offset, part.end_lineno, part.end_col_offset))


def report(sessions: dict[str, Path]) -> None:
    """Print how many mutants were killed, and the lines of those that were not."""
    lines, survivors = ["| module | mutants | killed | % |", "|---|---|---|---|"], []
    for module, session in sessions.items():
        tried = query(session, TRIED)
        alive = [(row, diff.splitlines()[3:]) for row, outcome, diff in tried if outcome == "SURVIVED"]
        mutants, killed = len(tried), len(tried) - len(alive)
        lines.append(f"| `{module}` | {mutants} | {killed} | {100 * killed / mutants:.1f} |")
        for row, diff in alive:
            survivors += [f"{path_of(module)}:{row}", *(line for line in diff if line[:1] in "+-")]
    print("\n".join([*lines, "", *survivors]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("modules", nargs="+", choices=[*TESTS], metavar="MODULE", help=", ".join(TESTS))
    parser.add_argument("--folder", type=Path, required=True, help="of clones and results")
    parser.add_argument("--bin", type=Path, default=Path(""), help="of cosmic-ray, unless on the PATH")
    argv = parser.parse_args()
    folder = argv.folder.absolute()
    os.environ.update(ENVIRONMENT, NUMBA_CACHE_DIR=str(folder / "numba"))
    report({module: mutate(module, clone_of(module, folder), argv.bin) for module in argv.modules})


if __name__ == "__main__":
    main()
