"""Fit spectra, and three instruments together, with Gammapy and with gammaflow, in turn, and print the ratio.

    python benchmarks/spectra.py [10] [100] [1000] [crab] [--repeat 5] [--gammapy-up-to 100]

Gammapy runs in an environment of its own: name its python in GAMMAPY_PYTHON. "10", "100", "1000": so many simulated
ON/OFF spectra with energies and responses of their own run, one power law, W statistic; the arrays are the same on
both sides. "crab": the Fermi-LAT map, the stacked H.E.S.S. spectrum and the HAWC flux points of the Crab nebula, read
by each side with its own readers (GAMMAPY_DATA). Timed is `Fit.run` as a whole, minimum and covariance, one thread
each; "set-up" is the condensing within it. Both must end at the same values within 0.3 standard deviations, and (the
spectra) at the same statistic within 0.02, or the benchmark fails. Of more spectra than --gammapy-up-to Gammapy is
not asked.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import spectra_cases as cases
from fit_rounds import GAMMAFLOW, GAMMAPY, Rounds, ask_in_turn

SAME = 0.02  # of the statistic


def measure(case: str, repeat: int, gammapy: str | None) -> str:
    """The case's line of the table."""
    title = cases.TITLES.get(case, f"{case} ON/OFF spectra")
    with tempfile.TemporaryDirectory(prefix="gammaflow-benchmark-") as scratch:
        path = None
        if case != cases.CRAB:
            path = str(Path(scratch) / "spectra.npz")
            np.savez(path, **cases.simulated(int(case)))
        return row(case, ask_in_turn(title, "spectra", case, path, 3 if gammapy else 1, repeat, gammapy))


def row(case: str, found: Rounds) -> str:
    last = found.last
    seconds, set_up, cpu = (found.median(GAMMAFLOW, name) for name in ("seconds", "set_up", "cpu"))
    reference, pull = "not run", ""
    if found.theirs:
        reference, pull = f"{found.median(GAMMAPY, 'seconds'):.2f}", f"{found.largest_pull():.3f}"
        ours, theirs = last["stat"], found.theirs[-1]["stat"]
        if case != cases.CRAB and not abs(ours - theirs) <= SAME:
            raise AssertionError(f"{found.title}: statistic {ours}, in Gammapy {theirs}")
    return (
        f"| {found.title} | {reference} | {1e3 * found.first['seconds']:.0f} | {1e3 * set_up:.1f} | "
        f"{1e3 * (seconds - set_up):.1f} | {1e3 * seconds:.1f} | {1e3 * cpu:.1f} | {last['trips']} | "
        f"{found.ratios} | {pull} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="case", help="10, 100, 1000, crab; all by default")
    parser.add_argument("--repeat", type=int, default=5, help="fits of gammaflow to one of Gammapy")
    parser.add_argument("--gammapy-up-to", type=int, default=100, help="spectra; more are not asked of it")
    arguments = parser.parse_args()
    wanted = arguments.cases or ["10", "100", "1000", cases.CRAB]
    unknown = [case for case in wanted if case != cases.CRAB and not case.isdigit()]
    if unknown:
        parser.error(f"there is no case {unknown[0]!r}; give a number of spectra, or {cases.CRAB}")
    python = os.environ.get("GAMMAPY_PYTHON")
    if not python or not os.environ.get("GAMMAPY_DATA"):
        sys.exit("set GAMMAPY_PYTHON (a python with Gammapy 2.1) and GAMMAPY_DATA (the public data)")
    print(f"load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores\n")
    print(
        "| fit | Gammapy s | first ms | set-up ms | fit ms | together ms | CPU ms | trips | ratio | CPU ratio | "
        "largest pull |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for case in wanted:
        gammapy = case == cases.CRAB or int(case) <= arguments.gammapy_up_to
        print(measure(case, arguments.repeat, python if gammapy else None), flush=True)


if __name__ == "__main__":
    main()
