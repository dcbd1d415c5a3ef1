"""Read from the source: who may import whom, who names what, and what is explained."""

from __future__ import annotations

import ast
import configparser
import functools
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import minihash
from minihash.kernels import Kernels
from minihash.kernels.compiling import MODULES as MODULES_OF_THE_CACHE

ROOT = Path(minihash.__file__).parent
MODULES = {
    ".".join(("minihash", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}
NAMES = sorted(MODULES)

#: From the bottom up: a room imports rooms of the lines above its own, and itself.
ROOMS = (
    ("arrays", "frames", "text"),
    ("checks", "version", "files", "machine", "terminal", "strict_json", "tasks"),
    ("encoding", "figures"),
    ("schema",),
    ("hashing",),
    ("maps",),
    ("kernels",),
    ("initializers", "losses", "metrics", "optimizers", "schedules"),
    ("virtual_matrix",),
    ("layers",),
    ("integers", "memory", "size_matching", "summary"),
    ("predictions",),
    ("network",),
    ("builders",),
    ("whole_matrices",),
    ("fused",),
    ("persistence",),
    ("gradient_check",),
    ("testing",),
    ("datasets",),
    ("sources",),
    ("calibration", "training"),
    ("callbacks",),
    ("quantization", "studies"),
    ("search",),
    ("export",),
    ("sklearn", "plots"),
    ("cli",),
    ("__init__",),
    ("__main__",),
)
CUDA = [f"minihash.kernels.{name}" for name in ("numba_cuda", "cuda_launching", "shared_cuda")]
#: Packages whose modules have another name.
MODULE_NAMES = {"pillow": "PIL", "cupy-cuda12x": "cupyx", "scikit-learn": "sklearn"}
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}


def room_of(module: str) -> str:
    """The room of a module: `layers` of minihash.layers.base."""
    return module.split(".")[1] if "." in module else "__init__"


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in a file, as far as the import statement tells."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "relative imports hide the room"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module
        elif isinstance(node, ast.Call) and dotted(node.func).endswith(("import_module", "__import__")):
            first = node.args[0]
            if isinstance(first, ast.JoinedStr):
                first = first.values[0]
            if isinstance(first, ast.Constant):
                yield first.value.rstrip(".")


def dotted(node: ast.AST) -> str:
    """`np.random.rand` of such an expression; "" of any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return base and f"{base}.{node.attr}"
    return ""


@functools.cache
def names(module: str) -> set[str]:
    """All dotted names that a module imports or uses, NumPy's short name spelled out."""
    used = {dotted(node) for node in ast.walk(TREES[module])}
    members = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return {re.sub(r"^np\b", "numpy", name) for name in used | members | set(imports(TREES[module]))}


def says(module: str, name: str) -> bool:
    return any(found == name or found.startswith(f"{name}.") for found in names(module))


def test_the_test_sees_the_package() -> None:
    assert len(NAMES) > 30
    assert "minihash.hashing" in set(imports(TREES["minihash.kernels.numba_cpu"]))
    assert "minihash.kernels.numba_cpu" in set(imports(TREES["minihash.kernels"]))
    assert says("minihash.kernels.numba_cpu", "numba") and says("minihash.layers.base", "numpy.random")


def lines_of(*names: str) -> int:
    """Lines of Python, C and templates in folders and files of the package."""
    files = [path for name in names for path in [ROOT / name, *(ROOT / name).rglob("*")] if path.is_file()]
    code = [path for path in files if path.suffix == ".py" or path.parent.name == "templates"]
    return sum(path.read_text("utf-8").count("\n") for path in code)


def test_the_house_is_small() -> None:
    """Who needs more raises a number, in a commit of its own that says why."""
    engine = "hashing.py maps.py kernels virtual_matrix.py layers losses optimizers.py schedules.py"
    assert lines_of(".") <= 23_600
    assert lines_of(*engine.split(), "initializers.py", "network.py") <= 5_700
    files = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file()]
    assert [name for name in files if lines_of(name) > 350] == []


def test_every_module_is_in_a_room() -> None:
    assert {room_of(module) for module in NAMES} == {*FLOOR, "__init__"} - {"minihash"}


def test_rooms_import_only_rooms_above() -> None:
    pairs = [(module, other) for module in NAMES for other in imports(TREES[module])]
    ours = [(module, other) for module, other in pairs if other.split(".")[0] == "minihash"]
    floors = [(module, other, FLOOR[room_of(other)] < FLOOR[room_of(module)]) for module, other in ours]
    wrong = [(m, other) for m, other, above in floors if not above and room_of(m) != room_of(other)]
    assert len(ours) > 200 and wrong == []


def test_targets_of_exports_know_what_they_share_alone() -> None:
    """A package in export/ is a target: no other knows it, nor the command, nor what targets share."""
    shared = {f"minihash.export.{name}" for name in ("plan", "known", "targets")}
    for module in NAMES:
        theirs = {name for name in imports(TREES[module]) if name.startswith("minihash.export.")} - shared
        if module.startswith("minihash.export.") and module not in shared:
            own = ".".join(module.split(".")[:3])
            theirs = {name for name in theirs if not f"{name}.".startswith(f"{own}.")}
        assert not theirs or module == "minihash.export", (module, theirs)


def test_datasets_need_no_network() -> None:
    allowed = {"datasets", "schema", "encoding", "hashing", *ROOMS[0], *ROOMS[1]}
    for module in NAMES:
        if room_of(module) == "datasets":
            rooms = {room_of(name) for name in imports(TREES[module]) if name.startswith("minihash")}
            assert rooms <= allowed, module


def test_who_names_numba() -> None:
    for module in NAMES:
        assert not says(module, "numba") or room_of(module) in ("hashing", "kernels"), module
        assert not says(module, "numba.cuda") or module in CUDA, module
        twins = tuple(f"minihash.kernels.{kind}" for kind in ("num", "shared_", "cuda_"))
        used = {name for name in imports(TREES[module]) if name.startswith(twins)}
        assert not used or room_of(module) == "kernels", module


def test_packages_of_others() -> None:
    """Only declared dependencies; the maths (and hashing, maps) only NumPy and SciPy."""
    config = configparser.ConfigParser()
    config.read(Path(__file__).parent.parent / "setup.cfg")
    options = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    packages = re.findall(r"^[\w-]+", "\n".join(options), re.MULTILINE)
    declared = {MODULE_NAMES.get(package, package) for package in packages}
    plain = "hashing", "maps", *ROOMS[0], *ROOMS[1], *ROOMS[FLOOR["losses"]]
    for module in NAMES:
        roots = {name.split(".")[0] for name in imports(TREES[module])}
        others = roots - {"minihash"} - sys.stdlib_module_names
        assert others <= ({"numpy", "scipy"} if room_of(module) in plain else declared), module


def test_json_is_strict() -> None:
    """Nothing writes the bare words NaN and Infinity, which are no JSON."""
    for module in NAMES:
        for node in ast.walk(TREES[module]):
            if isinstance(node, ast.Call) and dotted(node.func) in ("json.dump", "json.dumps"):
                strict = {word.arg: word.value for word in node.keywords}.get("allow_nan")
                assert isinstance(strict, ast.Constant) and strict.value is False, (module, node.lineno)


def test_no_global_random_state() -> None:
    allowed = {"default_rng", "Generator", "SeedSequence", "PCG64"}
    for module in NAMES:
        rewinds = module == "minihash.gradient_check.twins"  # other people's layers
        known = allowed | {"RandomState"} if rewinds else allowed
        used = {name.split(".")[2] for name in names(module) if name.startswith("numpy.random.")}
        assert used <= known and (rewinds or not says(module, "random")), module


def test_no_pickle() -> None:
    for module in NAMES:
        for name in ("pickle", "cPickle", "_pickle", "dill", "joblib", "shelve", "marshal"):
            assert not says(module, name), module
        for node in ast.walk(TREES[module]):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, module


def public_definitions(tree: ast.Module) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    """Classes and functions at the top of a module, whose names have no leading underscore."""
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            yield node


def test_what_is_public_has_a_docstring() -> None:
    for module in NAMES:
        assert ast.get_docstring(TREES[module]), module
        for node in public_definitions(TREES[module]):
            assert ast.get_docstring(node), f"{module}.{node.name}"


def test_what_is_public_has_types() -> None:
    for module in set(NAMES) - {"minihash.kernels.numba_cpu"}:  # Numba infers
        for node in public_definitions(TREES[module]):
            if isinstance(node, ast.FunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                untyped = [argument.arg for argument in arguments if argument.annotation is None]
                assert not untyped and node.returns is not None, f"{module}.{node.name}"


@pytest.mark.parametrize("module", ["minihash", "minihash.layers", "minihash.datasets"])
def test_all(module: str) -> None:
    found = importlib.import_module(module)
    assert found.__all__ == sorted(found.__all__) and len(set(found.__all__)) == len(found.__all__)
    for name in found.__all__:
        value = getattr(found, name)
        assert name == "__version__" or value.__doc__


def test_fixed_names() -> None:
    """What others write against."""
    layers = "HashedLinear Linear ReLU Tanh Sigmoid Dropout".split()
    wanted = "Network mlp fit evaluate save load".split()
    assert {*layers, *wanted} <= set(minihash.__all__)
    for module, members in (
        ("hashing", "xxhash32"),
        ("losses", "softmax_cross_entropy mean_squared_error binary_cross_entropy distillation"),
        ("optimizers", "SGD Adam"),
        ("schedules", "constant step cosine one_cycle"),
        ("datasets", "load"),
        ("callbacks", "EarlyStopping"),
    ):
        assert all(hasattr(getattr(minihash, module), name) for name in members.split())


def kernels_in(module: str) -> list[tuple[str, list[str]]]:
    """The kernels of a module and their arguments, without those that have defaults."""
    return [
        (node.name, [argument.arg for argument in node.args.args[: -len(node.args.defaults) or None]])
        for node in public_definitions(TREES[module])
        if isinstance(node, ast.FunctionDef) and node.name != "of_slot"  # which makes kernels
    ]


def test_kernels_of_all_devices_are_the_same_functions_in_the_same_order() -> None:
    """A twin may write a kernel once for all lengths of tiles, or make it of the others."""
    shared = Kernels._fields[1:]  # `locate` comes first, and is the same for all lengths
    once = ["locate", *shared, "drop"]
    twice = ["locate", *(f"{name}_{kind}" for kind in ("element", "tiles") for name in shared), "drop"]
    numba = kernels_in("minihash.kernels.numba_cpu")
    assert [name for name, _ in numba] == twice
    arguments = dict(numba) | {name: dict(numba)[f"{name}_element"] for name in shared}
    for name in shared:
        assert arguments[f"{name}_tiles"] == arguments[name] and len(arguments[name]) <= 8
    for twin in ("numpy_cpu", "numba_cuda"):
        found = dict(kernels_in(f"minihash.kernels.{twin}"))
        assert len(found) >= 4 and list(found) == [name for name in once if name in found]
        assert found == {name: arguments[name] for name in found}


def test_what_is_compiled_of_losses_is_kept() -> None:
    """Who adds a loss with a compiled body to the package tells the cache of its file."""
    fused = {
        module
        for module in NAMES
        if module.startswith("minihash.losses.")
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.FunctionDef) and node.name == "fused"
    }
    assert len(fused) == 3 and fused <= set(MODULES_OF_THE_CACHE)


def test_kernels_of_shared_products_are_twins() -> None:
    """One row of inputs is small work, which a GPU does as any other."""
    names = (f"minihash.kernels.shared_{name}" for name in ("numba", "numpy", "cuda"))
    numba, numpy, cuda = map(kernels_in, names)
    assert numba == numpy and len(numba) == 6
    assert dict(cuda) == {name: names for name, names in numba if name != "multiply_row"}
