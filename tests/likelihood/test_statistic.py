"""The statistics bin by bin: the field's conventions, and derivatives that belong to the values."""

from __future__ import annotations

import numpy as np
import pytest

from gammaflow.likelihood import Cash, WStat
from gammaflow.stats import wstat

CASES = {
    "both": (5.0, 12.0, 0.2),
    "no ON": (0.0, 7.0, 0.2),
    "no OFF": (4.0, 0.0, 0.2),
    "neither": (0.0, 0.0, 0.2),
    "alpha of 0": (5.0, 12.0, 0.0),
    "alpha of 0, nothing": (0.0, 0.0, 0.0),
    "many": (4000.0, 30000.0, 1 / 9),
    "alpha above 1": (40.0, 3.0, 7.0),
}
SIGNALS = np.array([-300.0, -7.0, -0.3, -1e-6, 0.0, 1e-6, 0.3, 0.66, 0.67, 7.0, 300.0, 1e5])


def bins(case: str) -> WStat:
    return WStat(*(np.full(len(SIGNALS), value) for value in CASES[case]))


@pytest.mark.parametrize("case", CASES)
def test_w_is_that_of_the_stats(case: str) -> None:
    statistic = bins(case)
    expected = wstat(*CASES[case], SIGNALS)
    np.testing.assert_array_equal(statistic.value(SIGNALS), expected)
    value, score, curvature = statistic.expand(SIGNALS)
    for found in (value, score, curvature, statistic.score(SIGNALS), statistic.curvature(SIGNALS)):
        assert np.isfinite(found).all()
    assert (curvature >= 0).all()
    same = ~statistic.nothing_left(SIGNALS)
    size = 1.0 + np.abs(expected) + np.abs(SIGNALS) / max(CASES[case][2], 0.1) + sum(CASES[case][:2])
    np.testing.assert_array_less(np.abs(value - expected)[same], 1e-12 * size[same])
    assert same.all() or CASES[case][0] == 0


def test_a_bin_without_on_counts_goes_straight_on_below_zero() -> None:
    statistic = bins("no ON")
    value, score, curvature = statistic.expand(SIGNALS)
    np.testing.assert_allclose(value, 2 * (SIGNALS + 7.0 * np.log(1.2)), rtol=1e-14)
    np.testing.assert_array_equal(score, 2.0)
    np.testing.assert_array_equal(curvature, 0.0)
    assert statistic.nothing_left(np.array([-7.0 * 0.2 / 1.2 - 1e-9, *SIGNALS[1:]]))[0]


def test_without_an_off_measurement_a_bin_says_nothing() -> None:
    for found in bins("alpha of 0").expand(SIGNALS):
        np.testing.assert_array_equal(found, 0.0)


@pytest.mark.parametrize("kind", ["expand", "value"])
def test_derivatives_of_w_are_those_of_its_values(kind: str) -> None:
    rng = np.random.default_rng(3)
    n = 20000
    on, off = rng.integers(0, 6, n) * rng.choice([1.0, 40.0], n), rng.integers(0, 6, n) * 1.0
    statistic = WStat(on, off, rng.choice([0.05, 0.2, 1.0, 3.0], n))
    mu = rng.normal(0, 5, n) * rng.choice([1.0, 0.01, 20.0], n)
    step = 1e-6 * (1 + np.abs(mu))
    if kind == "expand":
        above, here, below = (statistic.expand(mu + k * step) for k in (1, 0, -1))
        pairs = [(above[i], below[i], here[i + 1]) for i in (0, 1)]
    else:
        pairs = [
            (getattr(statistic, f)(mu + step), getattr(statistic, f)(mu - step), getattr(statistic, g)(mu))
            for f, g in (("value", "score"), ("score", "curvature"))
        ]
    for above, below, derivative in pairs:
        slope = (above - below) / (2 * step)
        # no difference says anything across the end of a straight piece
        kink = np.abs(mu - on * statistic.alpha / (1 + statistic.alpha)) < 2 * step
        kink |= np.abs(mu + off * statistic.alpha / (1 + statistic.alpha)) < 2 * step
        np.testing.assert_allclose(derivative[~kink], slope[~kink], rtol=2e-5, atol=2e-5)


def test_cash_as_a_fit_wants_it() -> None:
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 5, 500).astype(np.float64)
    mu = rng.gamma(2.0, 1.0, 500) + 0.1
    statistic = Cash(counts)
    value, score, curvature = statistic.expand(mu)
    np.testing.assert_allclose(value + statistic.constant, statistic.value(mu), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(score, statistic.score(mu), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(curvature, statistic.curvature(mu), rtol=1e-13)
    assert (value >= -1e-12).all()
    impossible = Cash(np.array([1.0, 0.0])).expand(np.array([-1.0, -1.0]))[0]
    np.testing.assert_array_equal(impossible, [np.inf, -2.0])
