"""README.md and pages of docs: their commands run in a shell, their Python too, their links exist."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minihash import losses
from minihash.export.onnx.forms import FORMS
from minihash.export.targets import targets
from minihash.layers.registry import LAYERS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
IN_SHELL = [DOCS / f"{name}.md" for name in ("commands", "tutorial")]
IN_PYTHON = "choose distributed extending python pytorch search sklearn store tables testing training".split()
SHORT_LINES = "commands datasets extending notebooks python tables".split()
WRAPPED = [README, *(DOCS / f"{name}.md" for name in SHORT_LINES)]

#: What stands in for an environment. A training of digits has one epoch; .ci/run does it whole.
STAND_INS = {
    "python": f'exec {shlex.quote(sys.executable)} "$@"',
    "minihash": f"""
        case "$*" in *.csv*) ;; train*) set -- "$@" --epochs 1 ;; esac
        exec {shlex.quote(sys.executable)} -m minihash "$@"
    """,
    "pip": 'echo "pip $*" >>"$CALLS"',
    "pytest": 'echo "pytest $*" >>"$CALLS"',
}


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of some languages."""
    fence = re.compile(rf"^```(?:{'|'.join(languages)})\b.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return fence.findall(page.read_text("utf-8"))


def write_program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def set_up(folder: Path) -> str:
    """Write the stand-ins, which are found once `.venv` was made and activated; return the PATH before."""
    environment, outside = folder / "environment", folder / "outside"
    for place in (environment, outside):
        place.mkdir()
    for name, body in STAND_INS.items():
        write_program(environment / name, body)
    line = shlex.quote(f'PATH="{environment}:$PATH"')
    make = f'[ "$*" = "-m venv .venv" ] && mkdir -p .venv/bin && echo {line} >.venv/bin/activate'
    write_program(outside / "python3", make)
    return f"{outside}:/usr/local/bin:/usr/bin:/bin"


def paste(page: Path, folder: Path) -> tuple[str, list[str]]:
    """Run every command of a page in one shell; return what was printed, and the calls of pip and pytest."""
    for tool in ("make", "cc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    checkout, calls = folder / "checkout", folder / "calls"
    checkout.mkdir()
    calls.touch()
    script = "\n".join(blocks(page, "bash", "sh", "shell"))
    if "activate" not in script:  # a page for those who have been through the README
        script = f"python3 -m venv .venv && . .venv/bin/activate\n{script}"
    if shutil.which("avr-gcc") is None:
        script = re.sub(r"^make .*\bavr\b.*$", "", script, flags=re.MULTILINE)
    environment = {**os.environ, "PATH": set_up(folder), "CALLS": str(calls)}
    shell = ["bash", "-euo", "pipefail", "-c", script]
    found = subprocess.run(shell, cwd=checkout, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout, calls.read_text().splitlines()


def run_python(page: Path) -> dict[str, Any]:
    """Run the blocks of Python of a page in turn; return their variables."""
    found = blocks(page, "python", "py", "python3")
    assert found, f"{page.name} has no block of Python"
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in found:
        exec(compile(block, page.name, "exec"), namespace)
    return namespace


@pytest.mark.slow
def test_the_readme_as_pasted(tmp_path: Path) -> None:
    printed, calls = paste(README, tmp_path)
    assert calls == ["pip install -q .", "pip install -q .[test]", "pytest -q -rs"]

    table = [line.split() for line in blocks(README, "text")[0].splitlines()]
    for row in table:  # all but the error and the seconds, which one epoch cannot have
        assert row[:5] in [line.split()[:5] for line in printed.splitlines()], row
    error = float(re.findall(r"^test error: (\S+) %$", printed, re.MULTILINE)[-1])
    said = float(re.findall(r"test error is about (\S+) %", README.read_text("utf-8"))[0])
    assert abs(error - said) < 1

    checkout = tmp_path / "checkout"
    assert printed.endswith("the same classes\n")
    classes = np.loadtxt(checkout / "classes.txt")
    assert len(classes) == 6000
    assert np.mean(classes != np.loadtxt(checkout / "points.csv", delimiter=",")[:, 0]) < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("page", IN_SHELL, ids=lambda page: page.name)
def test_pages_as_pasted(page: Path, tmp_path: Path) -> None:
    assert "wrote model.h" in paste(page, tmp_path)[0]


def test_the_readmes_python_ends_in_labels(capsys: pytest.CaptureFixture[str]) -> None:
    run_python(README)
    predicted, labels = (line.strip("[]").split() for line in capsys.readouterr().out.splitlines()[-2:])
    assert len(labels) == 20 and sum(map(str.__eq__, predicted, labels)) >= 15


@pytest.fixture
def registries() -> Iterator[None]:
    """Forget afterwards what a page has registered."""
    known: list[dict] = [LAYERS, losses.LOSSES, targets(), FORMS._forms]
    before = [dict(one) for one in known]
    yield
    for one, kept in zip(known, before):
        one.clear()
        one.update(kept)


@pytest.mark.parametrize("name", IN_PYTHON)
def test_python_blocks_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registries: None
) -> None:
    monkeypatch.chdir(tmp_path)
    run_python(DOCS / f"{name}.md")


def test_the_readme_is_short() -> None:
    assert len(README.read_text("utf-8").split()) <= 700


@pytest.mark.parametrize("page", WRAPPED, ids=lambda page: page.name)
def test_lines_fit_a_screen(page: Path) -> None:
    lines = page.read_text("utf-8").splitlines()
    assert [line for line in lines if len(line) > 100 and not line.startswith("|")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_extras_are_installed_from_the_checkout() -> None:
    """No index has a package minihash of ours: a name in brackets would not install."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    sources = [*PAGES, *sorted(ROOT.glob("minihash/**/*.py")), *sorted(ROOT.glob("notebooks/*.py"))]
    for path in sources:
        for words in re.findall(r"pip install ([^`&#\n]*)", path.read_text("utf-8")):
            assert "minihash" not in words, f"{path.name}: pip install {words}"
            for extra in re.findall(r"\.\[([^]]*)\]", words):
                assert set(extra.split(",")) <= set(setup["options.extras_require"]), f"{path.name}: {extra}"
