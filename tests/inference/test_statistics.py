"""Intervals and drift against scipy's own: what a decision is made on must not be our arithmetic alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from inference.scoring.drift import drift, profile
from inference.scoring.metrics import mean_estimates


@pytest.mark.parametrize("count", [12, 200, 3_000])
@pytest.mark.parametrize("shape", ["beta", "binary"])
def test_an_interval_is_scipys_percentile_bootstrap(count: int, shape: str) -> None:
    random = np.random.default_rng(count)
    scores = random.beta(2, 5, count) if shape == "beta" else (random.random(count) < 0.3).astype(float)
    (found,) = mean_estimates(scores[:, None])
    wanted = stats.bootstrap((scores,), np.mean, method="percentile", n_resamples=9_999, rng=random).confidence_interval
    width = wanted.high - wanted.low
    assert found.value == pytest.approx(scores.mean())
    assert found.low == pytest.approx(wanted.low, abs=0.08 * width)
    assert found.high == pytest.approx(wanted.high, abs=0.08 * width)


def test_the_interval_of_very_many_records_is_the_normal_one() -> None:
    scores = np.random.default_rng(3).beta(2, 5, 50_001)
    (found,) = mean_estimates(scores[:, None])
    low, high = stats.norm.interval(0.95, scores.mean(), stats.sem(scores))
    width = high - low
    assert [found.low, found.high] == pytest.approx([low, high], abs=1e-3 * width)


def test_a_stability_index_is_the_sum_of_scipys_two_relative_entropies() -> None:
    random = np.random.default_rng(7)
    words = np.array([f"w{n}" for n in range(40)])
    chances = random.dirichlet(np.ones(40))
    before = [" ".join(random.choice(words, 30, p=chances)) for _ in range(400)]
    after = [" ".join(random.choice(words, 30, p=chances[::-1])) for _ in range(300)]
    baseline = profile(before)
    counts = {word: sum(text.split().count(word) for text in after) for word in baseline["vocabulary"]["words"]}
    rest = 300 * 30 - sum(counts.values())
    # Half an observation in each bin, as the index itself has it.
    actual = np.array([*counts.values(), rest]) + 0.5
    expected = np.maximum(baseline["vocabulary"]["shares"], 0.5 / actual.sum())
    actual = actual / actual.sum()
    # scipy makes both sum to 1; what the floor added is taken back here.
    kl = stats.entropy(actual, expected) + stats.entropy(expected, actual)
    assert drift(baseline, after)["vocabulary_psi"] == pytest.approx(kl, rel=1e-3)
