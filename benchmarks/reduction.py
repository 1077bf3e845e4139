"""Reduce the same observations with Gammapy and with gammaflow, in turn, and print the ratio.

    python benchmarks/reduction.py [gc] [msh] [--rounds 5]

Gammapy runs in an environment of its own: name its python in GAMMAPY_PYTHON.
Gammapy reduces and writes nothing; gammaflow reads, reduces and writes the Zarr dataset. One thread each.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from statistics import median

from cases import CASES
from peer import Peer

HERE = Path(__file__).parent


def measure(name: str, rounds: int, gammapy_python: str) -> None:
    case = CASES[name]
    theirs = Peer(gammapy_python, HERE / "reduction_gammapy.py", name)
    ours = Peer(sys.executable, HERE / "reduction_gammaflow.py", name)
    times: dict[str, list[float]] = {"gammapy": [], "gammaflow": [], "read": [], "reduce": [], "write": []}
    try:
        for round_ in range(rounds + 1):
            for obs_id in case.obs_ids:
                reference, result = theirs.ask(obs_id=obs_id), ours.ask(obs_id=obs_id)
                if reference["counts"] != result["counts"]:
                    raise AssertionError(
                        f"{obs_id}: {result['counts']} counts, Gammapy has {reference['counts']}"
                    )
                if abs(result["exposure"] / reference["exposure"] - 1) > 1e-6:
                    raise AssertionError(f"{obs_id}: the exposures differ")
                if round_ == 0:  # the first round warms both up
                    continue
                times["gammapy"].append(reference["seconds"])
                times["gammaflow"].append(result["seconds"])
                for stage in ("read", "reduce", "write"):
                    times[stage].append(result[stage])
    finally:
        theirs.close()
        ours.close()
    ms = {key: 1e3 * median(values) for key, values in times.items()}
    print(
        f"| {case.name} | {len(case.obs_ids)} x {rounds} | {ms['gammapy']:.0f} | {ms['read']:.1f} | "
        f"{ms['reduce']:.1f} | {ms['write']:.1f} | {ms['gammaflow']:.1f} | **{ms['gammapy'] / ms['gammaflow']:.1f}** |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", default=[*CASES])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    python = os.environ.get("GAMMAPY_PYTHON")
    if not python or not os.environ.get("GAMMAPY_DATA"):
        sys.exit("set GAMMAPY_PYTHON (a python with Gammapy 2.1) and GAMMAPY_DATA (the public data)")
    print("| case | observations x rounds | Gammapy ms | read | reduce | write | gammaflow ms | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for name in arguments.cases:
        measure(name, arguments.rounds, python)


if __name__ == "__main__":
    main()
