"""Synthetic HIGGS: the same rows again, chunk by chunk, of the right shape, and with a signal to learn."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from benchmarks.higgs import synthetic
from benchmarks.higgs.synthetic import CHUNK_ROWS, FEATURES, higgs_chunk, synthesize_higgs
from minihash.datasets.store import Store
from minihash.metrics import AUC


@pytest.fixture(scope="module")
def rows():
    """Five chunks, 40,960 rows."""
    return np.concatenate([higgs_chunk(0, chunk) for chunk in range(5)])


def column(rows, name):
    return rows[:, 1 + FEATURES.index(name)]


def read(path):
    found = Store(path)
    batches = [np.column_stack([batch[1], batch[0]]) for batch in found.batches(len(found))]
    return np.concatenate(batches)


# ---------------------------------------------------------------------------------------- the store


def test_the_seed_decides_every_byte(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for path, seed in zip(paths, (3, 3, 4)):
        synthesize_higgs(path, 500, seed=seed)
    first, same, other = (path.read_bytes() for path in paths)
    assert first == same and first != other


@pytest.mark.parametrize("count", [1, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1])
def test_a_longer_store_begins_with_the_shorter_one(tmp_path, count, rows):
    seen = []
    progress = synthesize_higgs(tmp_path / "a.mh", count, report=lambda now: seen.append(now.rows))
    assert progress.rows == count == seen[-1] and progress.seconds > 0 and progress.skipped == 0
    assert seen == [*range(CHUNK_ROWS, count, CHUNK_ROWS), count]
    np.testing.assert_array_equal(read(tmp_path / "a.mh"), rows[:count])


def test_memory_is_that_of_a_chunk(tmp_path):
    """Of 116 bytes a row, 8 chunks are 7.6 MB."""
    tracemalloc.start()
    try:
        synthesize_higgs(tmp_path / "a.mh", 2 * CHUNK_ROWS)
        _, few = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        synthesize_higgs(tmp_path / "b.mh", 8 * CHUNK_ROWS)
        _, many = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert many < few + 1e6 and many < 30e6


def test_what_fails_on_the_way_leaves_nothing(tmp_path):
    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize_higgs(tmp_path / "a.mh", 100, report=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name, value", [("rows", 0), ("rows", 1.5), ("seed", -1), ("seed", 2**32)])
def test_wrong_numbers_are_refused(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"^{name} is "):
        synthesize_higgs(tmp_path / "a.mh", **{"rows": 1, "seed": 0, name: value})
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------------- the rows


def test_shape_and_labels(rows):
    assert rows.shape == (5 * CHUNK_ROWS, 29) and rows.dtype == np.float32 and len(FEATURES) == 28
    assert np.isfinite(rows).all()
    assert set(np.unique(rows[:, 0])) == {0, 1}
    assert abs(rows[:, 0].mean() - 0.53) < 4 * np.sqrt(0.25 / len(rows))
    assert len(np.unique(rows[:, 1:], axis=0)) == len(rows)
    assert abs(np.corrcoef(rows[:-1, 0], rows[1:, 0])[0, 1]) < 0.03  # no class before the other


def test_marginals_are_of_the_kind_of_the_real_ones(rows):
    for name in FEATURES:
        values = column(rows, name).astype(float)
        skew = ((values - values.mean()) ** 3).mean() / values.std() ** 3
        if name.endswith("eta") or name.endswith("phi"):
            assert abs(values.mean()) < 0.05 and abs(values.std() - 1) < 0.05 and abs(skew) < 0.1
        elif name.endswith("b-tag"):
            assert len(np.unique(values)) == 3 and abs(values.mean() - 1) < 0.05
        else:
            assert values.min() >= 0 and abs(values.mean() - 1) < 0.05 and skew > 1
        if name.endswith("phi"):  # every direction alike: the flattest histogram
            counts, _ = np.histogram(values, 10)
            assert counts.min() > 0.9 * len(values) / 10


def test_jets_are_sorted_and_well_seen(rows):
    scale = dict(zip(FEATURES, synthetic.SCALES))
    pts = [column(rows, f"jet {n} pT") * scale[f"jet {n} pT"] for n in (1, 2, 3, 4)]
    assert (np.diff(pts, axis=0) <= 1e-3).all() and pts[3].min() > 19.99


def naive_momentum(pt, eta, phi):
    return np.array([pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)])


def naive_mass(*momenta):
    energy, x, y, z = sum(momenta)
    return np.sqrt(max(0, energy**2 - x**2 - y**2 - z**2))


def test_masses_are_those_of_what_is_seen(rows):
    """Of a row's momenta, in 64 bits; what is measured is enough to compute them."""
    for row in rows[:200, 1:].astype(float) * synthetic.SCALES:
        jets = [(naive_momentum(*jet[:3]), jet[3]) for jet in row[5:21].reshape(4, 4)]
        one, other, *pair = (jet for jet, _ in sorted(jets, key=lambda jet: -round(jet[1])))
        m_jj, m_jjj, m_lv, _, m_bb, m_wbb, _ = row[21:]
        assert m_jj == pytest.approx(naive_mass(*pair), rel=1e-3, abs=0.5)
        assert m_bb == pytest.approx(naive_mass(one, other), rel=1e-3, abs=0.5)
        assert m_wbb == pytest.approx(naive_mass(*pair, one, other), rel=1e-3, abs=0.5)
        tops = [naive_mass(*pair, b) for b in (one, other)]
        assert m_jjj == pytest.approx(min(tops, key=lambda mass: abs(mass - 173)), rel=1e-3, abs=0.5)
        # With the right neutrino the lepton makes a W; if there is none, the mass is that across the beam.
        across = np.sqrt(2 * row[0] * row[3] * (1 - np.cos(row[2] - row[4])))
        assert m_lv == pytest.approx(max(80.4, across), rel=1e-2)


def test_decays_keep_energy_and_momentum():
    rng = np.random.default_rng(0)
    parent = synthetic._produce(rng, 425.0, 1000)
    first, second = synthetic._decay(rng, parent, 425.0, 80.4, 325.0)

    def mass(p):
        return np.sqrt(p[0].astype(float) ** 2 - (p[1:].astype(float) ** 2).sum(axis=0))

    np.testing.assert_allclose(first + second, parent, rtol=1e-5, atol=1e-3)
    for found, wanted in ((parent, 425), (first, 80.4), (second, 325)):
        assert np.abs(mass(found) - wanted).max() < 1
    towards = (parent[3] > 0) == (first[3] > 0)
    assert 0.5 < towards.mean() < 0.95  # it moves with its parent, in its own direction


# --------------------------------------------------------------------------------------- the signal


def area_of_regression(features, labels):
    """AUC of least squares on one half of the rows, measured on the other half."""
    features = np.column_stack([features, np.ones(len(features))])
    half = len(labels) // 2
    weight = np.linalg.solve(features[:half].T @ features[:half], features[:half].T @ labels[:half])
    measure = AUC()
    measure.update(features[half:] @ weight, labels[half:])
    return measure.value()


def test_there_is_a_signal_that_is_not_linear(rows):
    """Bumps of masses, at those of the Higgs bosons and the top quarks, tell more than lines through them."""
    labels, features = rows[:20_000, 0].astype(float), rows[:20_000, 1:].astype(float)
    linear = area_of_regression(features, labels)
    masses = np.minimum(features[:, 21:], 3)
    bumps = [np.exp(-(((masses - place) / 0.15) ** 2)) for place in np.arange(0.3, 1.8, 0.15)]
    curved = area_of_regression(np.hstack([features, *bumps]), labels)
    low_level = area_of_regression(features[:, :21], labels)
    assert 0.63 < linear < 0.70 and 0.74 < curved < 0.80 and 0.55 < low_level < linear
