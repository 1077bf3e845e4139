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

import fit_simulation as simulation
import numpy as np
from fit_cases import FITS, FitCase
from fit_rounds import GAMMAFLOW, GAMMAPY, Rounds, ask_in_turn

SIMULATED = (16, 100)  # observations, pixels along a side


def simulate(path: Path) -> None:
    """Write the arrays of the simulated datasets."""
    observations, pixels = SIMULATED
    made = [simulation.observation(i, observations, pixels) for i in range(observations)]
    arrays = {name: np.stack([one.arrays[name] for one in made]) for name in made[0].arrays}
    np.savez(path, counts=np.stack([one.draw(seed) for seed, one in enumerate(made)]), **arrays)


def measure(key: str, repeat: int, gammapy_rounds: int, python: str) -> str:
    """The case's line of the table."""
    case = FITS[key]
    with tempfile.TemporaryDirectory(prefix="gammaflow-benchmark-") as scratch:
        path = None
        if case.data == "simulated":
            path = str(Path(scratch) / "simulated.npz")
            simulate(Path(path))
        found = ask_in_turn(
            case.name, "fits", key, path, max(gammapy_rounds, 1), repeat, python if gammapy_rounds else None
        )
    return row(case, found)


def row(case: FitCase, found: Rounds) -> str:
    last, seconds, set_up = found.last, *(found.median(GAMMAFLOW, n) for n in ("seconds", "set_up"))
    reference, pull = "", ""
    if found.theirs:
        reference = f"{found.median(GAMMAPY, 'seconds'):.2f}"
        if found.theirs[-1]["success"] and math.isfinite(found.theirs[-1]["stat"]):
            # the position is known to differ where Gammapy's image of a point depends on its place in the pixel
            pull = f"{found.largest_pull(('lon_0', 'lat_0') if case.position_differs else ()):.3f}"
        else:
            reference += " (fails)"
    return (
        f"| {case.name} | {reference} | {1e3 * found.first['seconds']:.0f} | {1e3 * set_up:.1f} | "
        f"{1e3 * (seconds - set_up):.1f} | {1e3 * seconds:.1f} | {last['trips']} | {found.ratios} | {pull} |"
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
        print(measure(key, arguments.repeat, rounds, python), flush=True)


if __name__ == "__main__":
    main()
