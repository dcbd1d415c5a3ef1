"""README.md and pages of docs: their Python and README's commands run."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minihash.cli import main

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
TESTED = ("choose", "distributed", "pytorch", "search", "sklearn", "store", "testing", "training", "tutorial")
PAGES = [README, *(ROOT / "docs" / f"{name}.md" for name in TESTED)]
SEPARATORS = {"&&", "||", ";", "|", "&", "(", ")", "\n"}


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of some languages."""
    fence = re.compile(rf"^```(?:{'|'.join(languages)})\b.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return fence.findall(page.read_text("utf-8"))


def commands(block: str) -> Iterator[list[str]]:
    """The arguments of each call of minihash in a block of shell."""
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, ";"]:
            if word not in SEPARATORS and not word.startswith((">", "<")):
                command.append(word)
                continue
            arguments = of_minihash(command)
            if arguments is not None:
                yield arguments
            command = []


def of_minihash(command: list[str]) -> list[str] | None:
    """The arguments of one simple command, if it runs minihash."""
    while command and re.fullmatch(r"\w+=.*", command[0]):
        command = command[1:]
    if command and os.path.basename(command[0]) == "minihash":
        return command[1:]
    if command[1:3] == ["-m", "minihash"]:
        return command[3:]
    return None


def test_commands_are_found_in_shell() -> None:
    block = """
        $ A=1 venv/bin/minihash train \\
            --epochs 2 && python3 -m minihash inspect 'a b' > x  # minihash
        echo minihash | minihash predict
    """
    assert list(commands(block)) == [["train", "--epochs", "2"], ["inspect", "a b"], ["predict"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = blocks(page, "python", "py", "python3")
    assert found, f"{page.name} has no block of Python"
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in found:
        exec(compile(block, page.name, "exec"), namespace)


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "tutorial.md"], ids=lambda page: page.name)
def test_commands_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [command for block in blocks(page, "bash", "sh", "shell") for command in commands(block)]
    assert found, f"{page.name} has no command minihash"
    monkeypatch.chdir(tmp_path)
    np.savez("images.npz", inputs=np.zeros((3, 784), np.uint8))  # what the block of Python before them wrote
    for command in found:
        shorter = ["--epochs", "1"] if command[0] == "train" else []
        assert main([*command, *shorter]) == 0, f"minihash {' '.join(command)}"
