"""Cash and W statistics against Gammapy's numbers, closed forms and edge cases."""

import doctest
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gammaflow.stats.counts
from gammaflow.stats import (
    CashCountsStatistic,
    WStatCountsStatistic,
    cash,
    cstat,
    wstat,
    wstat_gof_terms,
    wstat_mu_bkg,
)

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "counts_statistics.json").read_text())
CASH, WSTAT = REFERENCE["cash"], REFERENCE["wstat"]


def close(found, expected, rtol=1e-12, atol=1e-12):
    np.testing.assert_allclose(found, np.array(expected, dtype=float), rtol=rtol, atol=atol)


def test_cash_is_gammapys():
    close(cash(CASH["n_on"], CASH["mu"]), CASH["cash"])
    close(cstat(CASH["n_on"], CASH["mu"]), CASH["cstat"])


@pytest.mark.parametrize("name", ["n_sig", "error", "ts", "sqrt_ts", "p_value"])
@pytest.mark.parametrize("kind", ["cash", "wstat"])
def test_excess_and_significance_are_gammapys(kind, name):
    close(getattr(statistic(kind), name), REFERENCE[kind][name])


@pytest.mark.parametrize("kind", ["cash", "wstat"])
def test_intervals_are_gammapys(kind):
    found, reference = statistic(kind), REFERENCE[kind]
    close(found.compute_errn(), reference["errn"], rtol=1e-9)
    close(found.compute_errp(), reference["errp"], rtol=1e-9)
    close(found.compute_upper_limit(3), reference["ul3"], rtol=1e-9)


def test_excess_of_a_significance_is_gammapys():
    found = CashCountsStatistic(0, CASH["matching_mu"]).n_sig_matching_significance(5)
    close(found, CASH["matching_5"], rtol=1e-10)
    close(statistic("wstat").n_sig_matching_significance(5), WSTAT["matching_5"], rtol=1e-9)


def statistic(kind):
    if kind == "cash":
        return CashCountsStatistic(CASH["n_on"], CASH["mu"])
    return WStatCountsStatistic(WSTAT["n_on"], WSTAT["n_off"], WSTAT["alpha"])


@pytest.mark.parametrize("number", range(len(WSTAT["signals"])))
def test_wstat_is_gammapys(number):
    arguments = [WSTAT[name] for name in ("n_on", "n_off", "alpha")] + [WSTAT["signals"][number]]
    close(wstat(*arguments), WSTAT["wstat"][number], atol=1e-10)
    close(wstat(*arguments, extra_terms=False), WSTAT["wstat_plain"][number])
    close(wstat_mu_bkg(*arguments), WSTAT["mu_bkg"][number])


@pytest.mark.parametrize(
    ("n_on", "n_off", "alpha", "mu_sig", "expected"),
    [
        (0, 0, 0.5, 0.0, 0.0),
        (0, 0, 0.5, 3.0, 6.0),  # nothing seen: 2 mu
        (0, 7, 0.5, 3.0, 2 * 3.0 + 2 * 7 * np.log(1.5)),  # no ON: mu_bkg = n_off / (1 + alpha)
        (4, 0, 0.5, 20.0, 2 * (20 - 4 - 4 * np.log(20 / 4))),  # no OFF, much signal: mu_bkg = 0
        (6, 0, 0.5, 0.0, 2 * 6 * np.log(3.0)),  # no OFF, no signal: alpha mu_bkg = n_on alpha / (1 + alpha)
        (5, 3, 0.0, 2.0, 0.0),  # no OFF measurement
        (5, 3, np.inf, 2.0, 0.0),
        (5, 3, np.finfo(float).max, 2.0, 0.0),
        (5, 3, np.nan, 2.0, 0.0),
    ],
)
def test_wstat_edge_cases(n_on, n_off, alpha, mu_sig, expected):
    assert float(wstat(n_on, n_off, alpha, mu_sig)) == pytest.approx(expected, abs=1e-12)


ODD_ALPHAS = [0.0, 1e-320, 1e-300, 1e-90, 1e-30, 1e-12, 0.1, 1.0, 1e6, 1e99, 1e101, np.inf, np.nan]


@pytest.mark.filterwarnings("error")
@given(
    n_on=st.sampled_from([0, 1, 2, 7, 1000, 10**7]),
    n_off=st.sampled_from([0, 1, 3, 500, 10**7]),
    alpha=st.sampled_from(ODD_ALPHAS) | st.floats(1e-5, 1e5),
    mu_sig=st.sampled_from([0.0, 1e-300, -1e-300, 1e-30]) | st.floats(-1e6, 1e12),
)
def test_wstat_is_always_a_number_and_never_below_its_least(n_on, n_off, alpha, mu_sig):
    found = float(wstat(n_on, n_off, alpha, mu_sig))
    assert np.isfinite(found)
    assert found >= -1e-9 * (n_on + n_off + abs(mu_sig) + 1)
    if not 0 < alpha < np.inf:
        assert found == 0


@given(
    n_on=st.integers(1, 50), n_off=st.integers(0, 50), alpha=st.floats(0.01, 5), mu_sig=st.floats(-200, -0.01)
)
def test_the_background_makes_up_for_a_negative_signal(n_on, n_off, alpha, mu_sig):
    best = float(wstat_mu_bkg(n_on, n_off, alpha, mu_sig))
    least = float(wstat(n_on, n_off, alpha, mu_sig))
    assert mu_sig + alpha * best > -1e-12 * abs(mu_sig)
    for more in (1e-3, 1e-2, 0.1, 1.0):
        assert float(wstat(n_on, n_off, alpha, mu_sig, mu_bkg=best * (1 + more))) >= least - 1e-8


def test_wstat_does_not_hide_a_prediction_that_is_not_a_number():
    assert np.isnan(wstat(5, 3, 0.5, np.nan))


def test_profiled_background_keeps_its_digits_under_a_bright_signal():
    """Where mu_sig >> n_on the quadratic formula cancels; the limit is n_off / (1 + alpha)."""
    found = wstat_mu_bkg(1.0, 3.0, 0.1, 1e12)
    assert float(found) == pytest.approx(3.0 / 1.1, rel=1e-10)


def test_truncation_of_the_expectation():
    assert float(cash(0, -5.0)) == pytest.approx(2e-25)
    assert float(cash(2, 0.0)) == pytest.approx(-4 * np.log(1e-25))
    assert np.isnan(cash(2, np.nan))
    assert float(cstat(7, 7)) == 0


@given(
    n_on=st.integers(0, 300), n_off=st.integers(0, 300), alpha=st.floats(0.01, 5), mu_sig=st.floats(0, 200)
)
def test_profiled_background_is_the_minimum(n_on, n_off, alpha, mu_sig):
    best = float(wstat_mu_bkg(n_on, n_off, alpha, mu_sig))
    least = float(wstat(n_on, n_off, alpha, mu_sig))
    assert best >= 0
    assert least >= -1e-8
    for factor in (0.9, 1.1):
        other = wstat(n_on, n_off, alpha, mu_sig, mu_bkg=max(best, 1e-3) * factor)
        assert float(other) >= least - 1e-8


@given(n_on=st.integers(0, 5000), mu_bkg=st.floats(0.01, 5000), n_sigma=st.floats(0.3, 4))
def test_cash_intervals_are_where_the_statistic_has_risen(n_on, mu_bkg, n_sigma):
    counts = CashCountsStatistic(n_on, mu_bkg)
    best = float(cash(n_on, max(n_on, 1e-30)))
    up = float(cash(n_on, n_on + counts.compute_errp(n_sigma)))
    assert up - best == pytest.approx(n_sigma**2, rel=1e-6, abs=1e-6)
    if n_on > 0:
        down = float(cash(n_on, n_on - counts.compute_errn(n_sigma)))
        assert down - best == pytest.approx(n_sigma**2, rel=1e-5, abs=1e-6)


@given(mu_bkg=st.floats(0.1, 1000), significance=st.floats(0.5, 10))
def test_excess_of_a_significance_has_it(mu_bkg, significance):
    n_sig = CashCountsStatistic(0, mu_bkg).n_sig_matching_significance(significance)
    assert float(CashCountsStatistic(mu_bkg + n_sig, mu_bkg).sqrt_ts) == pytest.approx(significance, rel=1e-6)


@given(n_off=st.integers(1, 500), alpha=st.floats(0.05, 2), significance=st.floats(0.5, 10))
def test_excess_of_a_significance_has_it_over_off_counts(n_off, alpha, significance):
    n_sig = WStatCountsStatistic(0, n_off, alpha).n_sig_matching_significance(significance)
    found = WStatCountsStatistic(n_sig + alpha * n_off, n_off, alpha).sqrt_ts
    assert float(found) == pytest.approx(significance, rel=1e-6)


def test_sums_and_selections_keep_the_counts():
    n_on, n_off, alpha = (
        np.array([[3, 0], [5, 9]]),
        np.array([[7, 2], [0, 1]]),
        np.array([[0.5, 0.1], [0.3, 0.2]]),
    )
    whole = WStatCountsStatistic(n_on, n_off, alpha)
    total = whole.sum()
    assert float(total.n_on) == 17
    assert float(total.n_bkg) == pytest.approx(float(whole.n_bkg.sum()))
    assert whole.sum(axis=0).n_off.tolist() == [7, 3]
    assert whole[1].n_on.tolist() == [5, 9]
    assert float(WStatCountsStatistic([3], [0], [0.3]).sum().alpha) == 0
    cash_whole = CashCountsStatistic(n_on, 0.5)
    assert float(cash_whole.sum(axis=1).mu_bkg[0]) == 1.0
    assert cash_whole[0, 0].n_sig == 2.5
    assert cash_whole.info_dict()["excess"].shape == (2, 2)
    assert set(whole.info_dict()) >= {"n_on", "n_off", "alpha", "significance", "p_value"}


def test_known_signal_is_no_excess():
    counts = WStatCountsStatistic(20, 10, 0.5, mu_sig=15.0)
    assert float(counts.n_sig) == 0
    assert float(counts.sqrt_ts) == 0


def test_gof_terms_vanish_without_counts():
    assert wstat_gof_terms([0, 1], [0, 0]).tolist() == [0.0, -2.0]


def test_examples_of_the_docstrings_hold():
    assert doctest.testmod(gammaflow.stats.counts) == (0, 2)
