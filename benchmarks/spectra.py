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
from statistics import median
from typing import Any

import numpy as np
import spectra_cases as cases
from peer import Peer

HERE = Path(__file__).parent
AGREEMENT = 0.3  # standard deviations
SAME = 0.02  # of the statistic


def measure(case: str, repeat: int, gammapy: bool, python: str) -> str:
    """The case's line of the table."""
    with tempfile.TemporaryDirectory(prefix="gammaflow-benchmark-") as scratch:
        path = None
        if case != cases.CRAB:
            path = str(Path(scratch) / "spectra.npz")
            np.savez(path, **cases.simulated(int(case)))
        peers = {"gammaflow": Peer(sys.executable, HERE / "spectra_gammaflow.py", case)}
        if gammapy:
            peers["gammapy"] = Peer(python, HERE / "spectra_gammapy.py", case)
        try:
            counts = {name: peer.ask(prepare=True, path=path)["counts"] for name, peer in peers.items()}
            if len(set(counts.values())) > 1:
                raise AssertionError(f"{case}: different counts, {counts}")
            first = peers["gammaflow"].ask()
            ours, theirs = [], []
            for _ in range(3 if gammapy else 1):
                if gammapy:
                    theirs.append(peers["gammapy"].ask())
                ours += [peers["gammaflow"].ask() for _ in range(repeat)]
        finally:
            for peer in peers.values():
                peer.close()
    return row(case, first, ours, theirs)


def row(case: str, first: dict[str, Any], ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> str:
    last = ours[-1]
    if not last["success"]:
        raise AssertionError(f"{case}: {last['message']}")
    seconds, set_up, cpu = (median(one[name] for one in ours) for name in ("seconds", "set_up", "cpu"))
    reference, ratio, pull = "not run", "|", ""
    if theirs:
        time, their_cpu = (median(one[name] for one in theirs) for name in ("seconds", "cpu"))
        reference, ratio = f"{time:.2f}", f"**{time / seconds:.0f}** | {their_cpu / cpu:.0f}"
        pull = f"{largest_pull(case, last, theirs[-1]):.3f}"
    return (
        f"| {cases.TITLES.get(case, f'{case} ON/OFF spectra')} | {reference} | {1e3 * first['seconds']:.0f} | "
        f"{1e3 * set_up:.1f} | {1e3 * (seconds - set_up):.1f} | {1e3 * seconds:.1f} | {1e3 * cpu:.1f} | "
        f"{last['trips']} | {ratio} | {pull} |"
    )


def largest_pull(case: str, ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """Largest difference of a parameter, in our standard deviations."""
    mine, others = ours["parameters"], theirs["parameters"]
    if mine.keys() != others.keys():
        raise AssertionError(f"{case}: different free parameters, {sorted(mine)} and {sorted(others)}")
    pulls = {name: abs(value - others[name][0]) / error for name, (value, error) in mine.items()}
    worst = max(pulls, key=pulls.__getitem__)
    if not pulls[worst] <= AGREEMENT:
        raise AssertionError(f"{case}: {worst} is {mine[worst]}, in Gammapy {others[worst]}")
    if case != cases.CRAB and not abs(ours["stat"] - theirs["stat"]) <= SAME:
        raise AssertionError(f"{case}: statistic {ours['stat']}, in Gammapy {theirs['stat']}")
    return pulls[worst]


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
        print(measure(case, arguments.repeat, gammapy, python), flush=True)


if __name__ == "__main__":
    main()
