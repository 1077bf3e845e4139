"""Statistics of counts: Cash and W, significances, intervals."""

from gammaflow.stats.cash import cash, cstat
from gammaflow.stats.counts import CashCountsStatistic, CountsStatistic, WStatCountsStatistic
from gammaflow.stats.wstat import wstat, wstat_gof_terms, wstat_mu_bkg

__all__ = [
    "CashCountsStatistic",
    "CountsStatistic",
    "WStatCountsStatistic",
    "cash",
    "cstat",
    "wstat",
    "wstat_gof_terms",
    "wstat_mu_bkg",
]
