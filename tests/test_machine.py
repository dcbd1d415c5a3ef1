"""The memory that there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from minihash import machine as module

# -------------------------------------------------------------------------------------- memory


def test_what_is_available_is_there() -> None:
    available = module.available_memory()
    if available is None:
        pytest.skip("the system does not say")
    assert 2**20 < available < 2**50


def test_the_least_limit_of_all_groups_counts(tmp_path: Path) -> None:
    def group(folder: str, **files: str) -> None:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tmp_path / folder / name.replace("__", ".")).write_text(text)

    group("job/step", memory__max="max\n", memory__current="5\n")
    group("job", memory__max="1000\n", memory__current="700\n")
    group("job", memory__stat="anon 600\ninactive_file 60\nactive_file 40\n")
    group("memory/box", memory__limit_in_bytes="900\n", memory__usage_in_bytes="800\n")
    group("memory", memory__limit_in_bytes="9223372036854771712\n", memory__usage_in_bytes="1\n")
    own = tmp_path / "own"
    own.write_text("9:name=systemd:/\n4:memory:/box\n3:cpuset:/\n0::/job/step\nnonsense\n")
    found = list(module._of_groups(str(tmp_path), str(own)))
    assert sorted(found) == [100, 400, 9223372036854771711]
    own.write_text("4:memory:/seen/from/outside\n")  # a container: its group is the root there
    assert list(module._of_groups(str(tmp_path), str(own))) == [9223372036854771711]
    assert list(module._of_groups(str(tmp_path), str(tmp_path / "nothing"))) == []


@pytest.mark.skipif(module.resource is None or not Path("/proc/self/status").exists(), reason="needs Linux")
def test_limits_of_the_process_count() -> None:
    program = """
import resource
from minihash.machine import available_memory
resource.setrlimit(resource.{}, (2**32, 2**32))
print(available_memory())
"""
    for limit in ("RLIMIT_AS", "RLIMIT_DATA"):
        command = [sys.executable, "-c", program.format(limit)]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        assert 2**30 < int(found.stdout) < 2**32


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_memory", lambda: 2 * 10**9)
    module.check_memory("a thing", 2e9, "less")
    with pytest.raises(ValueError, match="^a thing needs about 2.5 GB, and 2 GB are available: wanted less$"):
        module.check_memory("a thing", 2.5e9, "less")
    monkeypatch.setattr(module, "available_memory", lambda: None)
    module.check_memory("a thing", 1e30, "less")


def test_small_things_ask_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_memory", lambda: pytest.fail("asked"))
    module.check_memory("a thing", 1e6, "less")
