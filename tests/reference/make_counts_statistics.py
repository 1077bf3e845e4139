"""Write counts_statistics.json with Gammapy 2.1: run in an environment that has it."""

import itertools
import json
from pathlib import Path

import numpy as np
from gammapy.stats import CashCountsStatistic, WStatCountsStatistic, cash, cstat, get_wstat_mu_bkg, wstat

COUNTS = [0, 1, 5, 13, 2000]


def numbers(value):
    return [None if not np.isfinite(x) else float(x) for x in np.ravel(value)]


def cash_case():
    grid = itertools.product(COUNTS, [0.0, 1e-30, 0.3, 5.5, 120.0, 1900.0])
    n_on, mu = np.array(list(grid)).T
    stat = CashCountsStatistic(n_on, mu)
    positive = CashCountsStatistic(n_on[mu > 1e-3], mu[mu > 1e-3])
    return {
        "n_on": numbers(n_on),
        "mu": numbers(mu),
        "cash": numbers(cash(n_on, mu)),
        "cstat": numbers(cstat(n_on, mu)),
        "n_sig": numbers(stat.n_sig),
        "error": numbers(stat.error),
        "ts": numbers(stat.ts),
        "sqrt_ts": numbers(stat.sqrt_ts),
        "p_value": numbers(stat.p_value),
        "errn": numbers(stat.compute_errn(1.0)),
        "errp": numbers(stat.compute_errp(1.0)),
        "ul3": numbers(stat.compute_upper_limit(3.0)),
        "matching_mu": numbers(positive.mu_bkg),
        "matching_5": numbers(positive.n_sig_matching_significance(5.0)),
    }


def wstat_case():
    grid = itertools.product(COUNTS, COUNTS, [0.1, 0.5, 2.0])
    n_on, n_off, alpha = np.array(list(grid)).T
    stat = WStatCountsStatistic(n_on, n_off, alpha)
    signals = [0.0, 0.7, 30.0]
    return {
        "n_on": numbers(n_on),
        "n_off": numbers(n_off),
        "alpha": numbers(alpha),
        "signals": signals,
        "wstat": [numbers(wstat(n_on, n_off, alpha, mu * np.ones_like(n_on))) for mu in signals],
        "wstat_plain": [
            numbers(wstat(n_on, n_off, alpha, mu * np.ones_like(n_on), extra_terms=False)) for mu in signals
        ],
        "mu_bkg": [numbers(get_wstat_mu_bkg(n_on, n_off, alpha, mu * np.ones_like(n_on))) for mu in signals],
        "n_sig": numbers(stat.n_sig),
        "error": numbers(stat.error),
        "ts": numbers(stat.ts),
        "sqrt_ts": numbers(stat.sqrt_ts),
        "p_value": numbers(stat.p_value),
        "errn": numbers(stat.compute_errn(1.0)),
        "errp": numbers(stat.compute_errp(1.0)),
        "ul3": numbers(stat.compute_upper_limit(3.0)),
        "matching_5": numbers(stat.n_sig_matching_significance(5.0)),
    }


if __name__ == "__main__":
    out = {"cash": cash_case(), "wstat": wstat_case()}
    Path(__file__).with_name("counts_statistics.json").write_text(json.dumps(out) + "\n")
