"""The ledger: what is written stays, whoever is killed."""

from __future__ import annotations

import json
import multiprocessing

import pytest

from benchmarks.ledger import Ledger

KEY = ("name", "seed")


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger.jsonl", KEY)


def record(seed, **results):
    return {"name": "a", "seed": seed, **results}


def test_a_ledger_that_is_not_there_is_empty(ledger):
    assert ledger.records() == [] and ledger.missing([record(1)]) == [record(1)]


def test_records_come_back_in_order(ledger):
    for seed in (2, 1, 3):
        ledger.append(record(seed, error=seed / 3))
    assert ledger.records() == [record(seed, error=seed / 3) for seed in (2, 1, 3)]
    assert ledger.missing([record(1), record(4), record(2)]) == [record(4)]


def test_of_two_records_with_one_key_the_newer_counts(ledger):
    ledger.append(record(1, error=5))
    ledger.append(record(1, error=6))
    assert ledger.records() == [record(1, error=6)]


def test_keys_may_hold_dicts(tmp_path):
    ledger = Ledger(tmp_path / "ledger", ("settings",))
    ledger.append({"settings": {"rate": 0.1, "epochs": 3}})
    assert ledger.missing([{"settings": {"rate": 0.1, "epochs": 3}}]) == []
    assert ledger.missing([{"settings": {"rate": 0.2, "epochs": 3}}])


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_torn_last_line_is_forgotten_and_cut_off(ledger, cut):
    ledger.append(record(1, error=5))
    ledger.append(record(2, error=6))
    content = ledger.path.read_bytes()
    ledger.path.write_bytes(content[:-cut])
    assert ledger.records() == [record(1, error=5)] and ledger.missing([record(2)])
    ledger.append(record(3, error=7))
    assert ledger.records() == [record(1, error=5), record(3, error=7)]
    assert all(json.loads(line) for line in ledger.path.read_text().splitlines())


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"name": "a"}', "", "null"])
def test_damage_in_the_middle_is_told(ledger, line):
    ledger.append(record(1))
    ledger.path.write_text(ledger.path.read_text() + line + "\n")
    with pytest.raises(ValueError, match="ledger.jsonl: line 2 is no record, wanted a JSON object with n"):
        ledger.records()


def test_a_record_without_a_key_is_not_written(ledger):
    with pytest.raises(ValueError, match="not JSON compliant"):
        ledger.append(record(float("nan"), error=1.0))
    with pytest.raises(KeyError):
        ledger.append({"name": "a"})
    assert not ledger.path.exists() and ledger.records() == []


def test_a_result_that_is_not_a_number_is_null(ledger):
    ledger.append(record(1, error=float("nan"), scores=[1.0, float("inf")]))
    assert b"NaN" not in ledger.path.read_bytes()
    assert ledger.records() == [record(1, error=None, scores=[1.0, None])]


def write_many(path, name):
    for seed in range(50):
        Ledger(path, KEY).append({"name": name, "seed": seed, "padding": "x" * 5000})


@pytest.mark.slow
def test_processes_do_not_mix_their_lines(ledger):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(ledger.path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = sorted((record["name"], record["seed"]) for record in ledger.records())
    assert found == [(name, seed) for name in "ab" for seed in range(50)]
