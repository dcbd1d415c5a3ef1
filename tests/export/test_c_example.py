"""Programs beside exported C: what the example answers, reads and refuses; rows of the self-test; text."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
from c_tools import SANITIZERS, WARNINGS, Library, predict_with, require, run
from hypothesis import given
from hypothesis import strategies as st

from minihash import Network, mlp
from minihash.export import to_c
from minihash.export.c.text import number, strings
from minihash.schema import Schema

pytestmark = pytest.mark.slow  # needs a compiler

NAMES = ("two words", 'a "quote"', "back\\slash", "what??!", "één\tй😀", "7" * 300)


def build(folder: Path, name: str = "model") -> Path:
    """Compile the example."""
    require("gcc")
    sources = [folder / "main.c", folder / f"{name}.c", folder / f"{name}_selftest.c"]
    run("gcc", *WARNINGS, "-Wformat=2", "-Wtrigraphs", "-O1", "-o", folder / "main", *sources, "-lm")
    return folder / "main"


def answer(program: Path, text: str | bytes) -> tuple[int, list[str], str]:
    """The exit status of the example, its lines, and its message."""
    text = text.encode() if isinstance(text, str) else text
    found = subprocess.run([program], input=text, capture_output=True)
    message = found.stderr.decode().removeprefix("model: self-test passed\n")
    return found.returncode, found.stdout.decode().split("\n")[:-1], message


@pytest.fixture(scope="module")
def network() -> Network:
    return mlp([4, 9, len(NAMES)], compression=0.5, seed=2, class_names=NAMES)


@pytest.fixture(scope="module")
def program(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("c")
    to_c(network, folder)
    return build(folder)


ROWS = np.random.default_rng(0).normal(scale=3, size=(40, 4)).astype(np.float32)


def test_a_classifier_answers_with_names(network: Network, program: Path) -> None:
    wanted = [NAMES[label] for label in network.predict(ROWS).argmax(axis=1)]
    assert len(set(wanted)) > 3
    text = "\n".join(" ".join(f"{value:.9g}" for value in row) for row in ROWS)
    assert answer(program, text) == (0, wanted, "")


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_network_without_names_answers_with_its_outputs(outputs: int, tmp_path: Path) -> None:
    network = mlp([4, 9, outputs], compression=0.5, input_shift=[5, 0, -1, 2], input_scale=[1, 2, 3, 4])
    to_c(network, tmp_path)
    status, lines, _ = answer(build(tmp_path), "\n".join(",".join(map(repr, row)) for row in ROWS.tolist()))
    found = np.array([[float(word) for word in line.split(" ")] for line in lines])
    assert status == 0 and np.abs(found - network.predict(ROWS)).max() < 1e-4


def test_a_single_output_decides_between_two_names(tmp_path: Path) -> None:
    network = mlp([4, 9, 1], compression=0.5, class_names=["no", "yes"])
    to_c(network, tmp_path)
    wanted = ["yes" if output > 0 else "no" for output in network.predict(ROWS)[:, 0]]
    text = "\n".join(",".join(map(repr, row)) for row in ROWS.tolist())
    assert answer(build(tmp_path), text) == (0, wanted, "") and len(set(wanted)) == 2


def test_labels_by_themselves_have_no_likeliest(tmp_path: Path) -> None:
    """Of a network whose outputs are a yes or no each, the example writes all of them."""
    network = mlp([4, 9, 3], compression=0.5, class_names=["red", "round", "large"])
    network.schema = Schema("multilabel")
    to_c(network, tmp_path)
    text = "\n".join(",".join(map(repr, row)) for row in ROWS.tolist())
    status, lines, _ = answer(build(tmp_path), text)
    found = np.array([line.split(" ") for line in lines], float)
    assert status == 0 and np.abs(found - network.predict(ROWS)).max() < 1e-4


@pytest.mark.parametrize(
    "text, rows",
    [
        ("", 0),
        (" \n\n", 0),
        ("1 2 3 4", 1),
        ("1,2,3,4\n5,6,7,8\n", 2),
        ("1, 2,\t3 ,4\r\n5 6 7 8\r\n", 2),
        ("1 2 3 4 5 6 7 8\n", 2),
        ("1 2\n3 4\n\n5 6\n7 8\n", 2),
        ("1e-3,-2.5,+.5,0x10\n", 1),
        (f"1{'0' * 30},2,3,4", 1),
        (f"1.{'0' * 126},2,3,4", 1),
    ],
)
def test_what_is_read(text: str, rows: int, program: Path) -> None:
    status, lines, message = answer(program, text)
    assert (status, message, len(lines)) == (0, "", rows)


@pytest.mark.parametrize(
    "text, message",
    [
        ("age,height,a,b\n1,2,3,4\n", "line 1 has no finite number but age"),
        ("1 2 3 4\n5 6 seven 8\n", "line 2 has no finite number but seven"),
        ("1 2 3 4x", "line 1 has no finite number but 4x"),
        ("1 nan 3 4", "line 1 has no finite number but nan"),
        ("1 -inf 3 4", "line 1 has no finite number but -inf"),
        ("1 1e39 3 4", "line 1 has no finite number but 1e39"),
        ("1;2;3;4", "line 1 has no finite number but 1;2;3;4"),
        (b"1 2\x00 3 4", "line 1 has no finite number but 2"),
        (f"{'1' * 129} 2 3 4", f"line 1 has no finite number but {'1' * 128}"),
        ("1,,3,4", "line 1 has nothing at a comma"),
        ("1,2,3,\n4,5,6,7\n", "line 1 has nothing at a comma"),
        (",2,3,4", "line 1 has nothing at a comma"),
        ("1,2,3,4,", "line 1 has nothing at a comma"),
        ("1 2 3", "line 1 ends the input inside a row, wanted 4 numbers a row"),
        ("1 2 3 4\n5\n", "line 3 ends the input inside a row"),
        ("1,2,3,4,5\n1,2,3,4,5\n", "line 1 ends inside a row, wanted 4 numbers a row"),
        ("1,2,3\n1,2,3\n1,2,3\n1,2,3\n", "line 2 ends inside a row"),
    ],
)
def test_what_is_refused(text: str | bytes, message: str, program: Path) -> None:
    status, _, found = answer(program, text)
    assert status == 1 and found.startswith(f"model: {message}")
    assert found.endswith("\n") and found.count("\n") == 1


def test_an_answer_that_cannot_be_written_is_a_failure(program: Path) -> None:
    with open("/dev/full", "w") as full:
        found = subprocess.run([program], input=b"1 2 3 4", stdout=full, stderr=subprocess.PIPE)
    assert found.returncode == 1 and b"model: No space left" in found.stderr


PROGRAM = """#include <stdio.h>
#include "model.h"
int main(void) {
    float x[MODEL_INPUTS], out[MODEL_OUTPUTS], both[MODEL_CLASSES + MODEL_OUTPUTS];
    while (fread(x, sizeof x, 1, stdin) == 1) {
        float *const place = both;
        model_predict(x, MODEL_OUTPUTS <= MODEL_CLASSES ? place : out);
        model_probabilities(place, place);
        fwrite(place, sizeof(float), MODEL_CLASSES, stdout);
    }
    return 0;
}
"""


@pytest.mark.parametrize("compiler", ["gcc", "g++"])
@pytest.mark.parametrize("task, units", [("classification", 3), ("binary", 1), ("multilabel", 3)])
def test_probabilities(task: str, units: int, compiler: str, tmp_path: Path) -> None:
    """In one array with the outputs; in C++ too, whose math.h has no place in extern "C"."""
    require(compiler)
    network = mlp([4, 9, units], compression=0.5, seed=3, class_names=["a", "b", "c"][: max(2, units)])
    network.schema = Schema(task)
    to_c(network, tmp_path)
    (tmp_path / "own.c").write_text(PROGRAM)
    run("gcc", *WARNINGS, "-c", "-o", tmp_path / "model.o", tmp_path / "model.c")
    flags = WARNINGS[1:] if compiler == "g++" else WARNINGS
    language = ["-x", "c++" if compiler == "g++" else "c", tmp_path / "own.c", "-x", "none"]
    run(compiler, *flags, *SANITIZERS, "-o", tmp_path / "own", *language, tmp_path / "model.o", "-lm")
    rows = np.vstack([ROWS, 40 * ROWS])
    found = predict_with([tmp_path / "own"], rows, max(2, units))
    np.testing.assert_allclose(found, network.predict_proba(rows), atol=1e-5)
    assert task == "multilabel" or np.allclose(found.sum(axis=1), 1)


def test_names_are_not_in_the_object_of_who_does_not_use_them(network: Network, tmp_path: Path) -> None:
    to_c(network, tmp_path)
    run("gcc", *WARNINGS, "-O0", "-c", "-o", tmp_path / "model.o", tmp_path / "model.c")
    content = (tmp_path / "model.o").read_bytes()
    assert b"two words" not in content and b"expf" not in content


def test_names_of_inputs_are_a_comment_that_they_cannot_end(tmp_path: Path) -> None:
    made = mlp([3, 2])
    made.schema = Schema("classification", feature_names=("a*/ b", "c??/", "één\n"))
    to_c(made, tmp_path)
    assert "/* Inputs: a\\x2a/ b, c?\\x3f/, \\xe9\\xe9n\\n. */" in (tmp_path / "model.h").read_text()
    build(tmp_path)
    made.schema = Schema("regression", feature_names=("a", "b", "c"))
    to_c(made, tmp_path)
    header = (tmp_path / "model.h").read_text()
    assert "CLASSES" not in header and "probabilities" not in header and "math.h" not in header


def test_names_that_c_cannot_say(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"class_names has 'a\\x00b', wanted names without NUL for C"):
        to_c(mlp([2, 2], class_names=["a\0b", "c"]), tmp_path / "c")
    assert not (tmp_path / "c").exists()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_string_literals_are_ascii_that_means_the_text(text: str) -> None:
    literals = strings(text)
    joined = "".join(literal[1:-1] for literal in literals)
    assert joined.isascii() and joined.isprintable() and "??" not in joined
    assert eval(f'b"{joined}"'.replace(r"\?", "?")) == text.encode()
    assert all(len(literal) <= 98 for literal in literals)


# ----------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("legacy", ["1.13", "1.21"])
def test_numbers_do_not_depend_on_how_numpy_prints(legacy: str, tmp_path: Path) -> None:
    network = mlp([6, 20, 3], compression=0.5, seed=1, input_shift=np.linspace(0.1, 7, 6))
    written = to_c(network, tmp_path / "a", training=True).files
    with np.printoptions(legacy=legacy, precision=2, floatmode="fixed", suppress=True):
        to_c(network, tmp_path / "b", training=True)
    for name in written:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_numbers_read_back_under_any_print_option(value: float) -> None:
    with np.printoptions(legacy="1.13"):
        text = number(value)
    assert text.endswith("f") and np.float32(text[:-1]).tobytes() == np.float32(value).tobytes()
    assert set(text) & {".", "e"}  # 1f is no number in C


# --------------------------------------------------------------------------------------- self-test


def unscaled(library: Library, values: np.ndarray) -> np.ndarray:
    function = library.function("unscaled", ctypes.c_float)
    return np.array([function(ctypes.c_uint32(j), ctypes.c_float(v)) for j, v in enumerate(values)])


def rows_of_selftest(folder: Path, inputs: int) -> np.ndarray:
    """What the self-test gives the model, asked of the very code."""
    text = (folder / "model_selftest.c").read_text().replace("static float read(", "float read(")
    text = text.replace("static uint32_t vector;", "uint32_t vector;")
    (folder / "model_selftest.c").write_text(text)
    library = ctypes.CDLL(str(shared(folder)))
    library.read.restype = ctypes.c_float
    rows = []
    for vector in range(2):
        ctypes.c_uint32.in_dll(library, "vector").value = vector
        rows.append([library.read(ctypes.c_uint32(j)) for j in range(inputs)])
    return np.array(rows)


def shared(folder: Path) -> Path:
    require("gcc")
    sources = [folder / "model.c", folder / "model_selftest.c"]
    run("gcc", "-std=c99", "-shared", "-fPIC", "-o", folder / "open.so", *sources, "-lm")
    return folder / "open.so"


def test_the_self_test_has_rows_like_the_data(tmp_path: Path) -> None:
    """Each feature around its own mean and in its own spread, however different they are."""
    shift, scale = np.array([1e4, -3.0, 0.0, 2e-6, 7.0]), np.array([1e-2, 1e3, 1.0, 1e7, 0.0])
    network = mlp([5, 8, 2], compression=0.5, input_shift=shift, input_scale=scale)
    to_c(network, tmp_path)
    assert Library(tmp_path, network).selftest() == 0
    rows = rows_of_selftest(tmp_path, 5)
    standard = (rows - shift) * scale
    assert (np.abs(standard) <= 2.001).all() and np.abs(standard[:, :4]).mean() > 0.3
    assert (rows[:, 4] == 7).all()


def test_the_self_test_has_whole_pixels(tmp_path: Path) -> None:
    to_c(mlp([300, 8, 2], compression=0.5, input_scale=1 / 255), tmp_path)
    rows = rows_of_selftest(tmp_path, 300)
    assert ((rows == np.rint(rows)) & (rows >= 0) & (rows <= 255)).all() and np.ptp(rows) > 200


def test_unscaled_is_the_inverse_of_the_scaling(tmp_path: Path) -> None:
    shift, scale = np.linspace(-5, 5, 6), np.linspace(0.1, 3, 6)
    network = mlp([6, 3], compression=0.5, input_shift=shift, input_scale=scale)
    to_c(network, tmp_path)
    values = np.linspace(-2, 2, 6)
    found = unscaled(Library(tmp_path, network), values)
    assert np.allclose(found, values / scale + shift, rtol=1e-6)
