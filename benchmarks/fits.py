"""Make the same fits with Gammapy and with gammaflow, in turn, and print the ratio.

    python benchmarks/fits.py [gc-stacked] [gc-joint] [msh] [simulated] [--repeat 5] [--gammapy-msh]

Gammapy runs in an environment of its own: name its python in GAMMAPY_PYTHON.
Each side reduces the observations with its own tools beforehand, which is not timed; simulated datasets have the
same arrays on both sides. Timed is `Fit.run` as a whole on either side, one thread each. "first" is the first fit
in a process, "set-up" the condensing within the median of the others; "CPU ratio" compares the processes' own
time, which other programs on the machine disturb less. Both must end at the same values within
0.3 standard deviations, or the benchmark fails. MSH 15-52 is asked of Gammapy only with --gammapy-msh: from these
starts it fails, after a minute and a half.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import fit_simulation as simulation
import numpy as np
from fit_cases import FITS, FitCase
from peer import Peer

HERE = Path(__file__).parent
AGREEMENT = 0.3  # standard deviations
SIMULATED = (16, 100)  # observations, pixels along a side


def simulate(path: Path) -> None:
    """Write the arrays of the simulated datasets."""
    observations, pixels = SIMULATED
    made = [simulation.observation(i, observations, pixels) for i in range(observations)]
    arrays = {name: np.stack([one.arrays[name] for one in made]) for name in made[0].arrays}
    np.savez(path, counts=np.stack([one.draw(seed) for seed, one in enumerate(made)]), **arrays)


def largest_pull(case: FitCase, ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """Largest difference of a parameter, in standard deviations; the position aside, where it is known to differ."""
    if ours.keys() != theirs.keys():
        raise AssertionError(f"{case.name}: different free parameters, {sorted(ours)} and {sorted(theirs)}")
    pulls = {name: abs(value - theirs[name][0]) / error for name, (value, error) in ours.items()}
    if case.position_differs:
        pulls = {name: pull for name, pull in pulls.items() if name.split(".")[-1] not in ("lon_0", "lat_0")}
    worst = max(pulls, key=pulls.__getitem__)
    if not pulls[worst] <= AGREEMENT:
        raise AssertionError(
            f"{case.name}: {worst} is {ours[worst]}, and {theirs[worst]} in Gammapy: {pulls[worst]:.2f} sigma"
        )
    return pulls[worst]


def measure(key: str, repeat: int, gammapy_rounds: int, python: str) -> None:
    case = FITS[key]
    with tempfile.TemporaryDirectory(prefix="gammaflow-benchmark-") as scratch:
        path = None
        if case.data == "simulated":
            path = str(Path(scratch) / "simulated.npz")
            simulate(Path(path))
        peers = {"gammaflow": Peer(sys.executable, HERE / "fits_gammaflow.py", key)}
        if gammapy_rounds:
            peers["gammapy"] = Peer(python, HERE / "fits_gammapy.py", key)
        try:
            counts = {name: peer.ask(prepare=True, path=path)["counts"] for name, peer in peers.items()}
            if len(set(counts.values())) > 1:
                raise AssertionError(f"{case.name}: different counts, {counts}")
            first = peers["gammaflow"].ask()
            ours, theirs = [], []
            for number in range(max(gammapy_rounds, 1)):
                if number < gammapy_rounds:
                    theirs.append(peers["gammapy"].ask())
                ours += [peers["gammaflow"].ask() for _ in range(repeat)]
        finally:
            for peer in peers.values():
                peer.close()
    print(row(case, first, ours, theirs), flush=True)


def row(
    case: FitCase, first: dict[str, Any], ours: list[dict[str, Any]], theirs: list[dict[str, Any]]
) -> str:
    """The case's line of the table."""
    last = ours[-1]
    if not last["success"]:
        raise AssertionError(f"{case.name}: {last['message']}")
    seconds, set_up, cpu = (median(one[name] for one in ours) for name in ("seconds", "set_up", "cpu"))
    reference, ratio, pull = "", "|", ""
    if theirs:
        time, their_cpu = (median(one[name] for one in theirs) for name in ("seconds", "cpu"))
        reference, ratio = f"{time:.2f}", f"**{time / seconds:.0f}** | {their_cpu / cpu:.0f}"
        if theirs[-1]["success"] and math.isfinite(theirs[-1]["stat"]):
            pull = f"{largest_pull(case, last['parameters'], theirs[-1]['parameters']):.3f}"
        else:
            reference += " (fails)"
    return (
        f"| {case.name} | {reference} | {1e3 * first['seconds']:.0f} | {1e3 * set_up:.1f} | "
        f"{1e3 * (seconds - set_up):.1f} | {1e3 * seconds:.1f} | {last['trips']} | {ratio} | {pull} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="case", help=f"{', '.join(FITS)}; all by default")
    parser.add_argument("--repeat", type=int, default=5, help="fits of gammaflow to one of Gammapy")
    parser.add_argument("--gammapy-msh", action="store_true")
    arguments = parser.parse_args()
    unknown = [key for key in arguments.cases if key not in FITS]
    if unknown:
        parser.error(f"there is no case {unknown[0]!r}; there are {', '.join(FITS)}")
    python = os.environ.get("GAMMAPY_PYTHON")
    if not python or not os.environ.get("GAMMAPY_DATA"):
        sys.exit("set GAMMAPY_PYTHON (a python with Gammapy 2.1) and GAMMAPY_DATA (the public data)")
    print(f"load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores\n")
    print(
        "| fit | Gammapy s | first ms | set-up ms | fit ms | together ms | trips | ratio | CPU ratio | largest pull |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for key in arguments.cases or FITS:
        rounds = FITS[key].gammapy_rounds or int(key == "msh" and arguments.gammapy_msh)
        measure(key, arguments.repeat, rounds, python)


if __name__ == "__main__":
    main()
