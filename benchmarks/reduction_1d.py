"""Reduce to spectra with Gammapy and with gammaflow, in turn, and print the ratio; then on 1 and 2 workers.

    python benchmarks/reduction_1d.py [--rounds 3] [--workers 1 2] [--no-gammapy]

Gammapy runs in an environment of its own: name its python in GAMMAPY_PYTHON.
Gammapy reduces and writes nothing; gammaflow reads, reduces and writes the Zarr dataset. One thread each.
Of the workers: seconds of the stage `reduce` of a run, when they have reduced the same runs once before; the
number of workers changes from round to round, so that all meet the same load.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from peer import ONE_THREAD, Peer
from reduction_1d_cases import PKS_2155 as case

HERE = Path(__file__).parent


def compare(rounds: int, gammapy_python: str) -> None:
    """One observation after the other, with either side in turn."""
    theirs = Peer(gammapy_python, HERE / "reduction_1d_gammapy.py")
    ours = Peer(sys.executable, HERE / "reduction_1d_gammaflow.py")
    times: dict[str, list[float]] = {"gammapy": [], "seconds": [], "reduce": [], "write": []}
    try:
        for round_ in range(rounds + 1):
            for obs_id in case.obs_ids:
                reference, result = theirs.ask(obs_id=obs_id), ours.ask(obs_id=obs_id)
                for name, tolerance in (
                    ("counts", 0.0),
                    ("counts_off", 0.0),
                    ("background", 1e-6),
                    ("exposure", 1e-6),
                ):
                    if abs(result[name] - reference[name]) > tolerance * abs(reference[name]):
                        raise AssertionError(
                            f"{obs_id}: {name} is {result[name]}, Gammapy has {reference[name]}"
                        )
                if round_ == 0:  # the first round warms both up
                    continue
                times["gammapy"].append(reference["seconds"])
                for stage in ("seconds", "reduce", "write"):
                    times[stage].append(result[stage])
    finally:
        theirs.close()
        ours.close()
    ms = {key: 1e3 * median(values) for key, values in times.items()}
    print("| case | observations x rounds | Gammapy ms | read and reduce | write | gammaflow ms | ratio |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {case.name} | {len(case.obs_ids)} x {rounds} | {ms['gammapy']:.0f} | {ms['reduce']:.1f} | "
        f"{ms['write']:.1f} | {ms['seconds']:.1f} | **{ms['gammapy'] / ms['seconds']:.1f}** |\n",
        flush=True,
    )


def scale(rounds: int, workers: list[int]) -> None:
    """The same observations as a run on some workers."""
    os.environ.update(ONE_THREAD)
    from reduction_1d_gammaflow import SETTINGS

    from gammaflow import Analysis
    from gammaflow.dag.clusters import local_cluster

    seconds: dict[int, list[float]] = {number: [] for number in workers}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gammaflow-benchmark-")))
        clients = {
            number: stack.enter_context(local_cluster(number, memory_limit="2 GiB", dashboard=False))
            for number in workers
        }
        for round_ in range(rounds + 1):
            for number, client in clients.items():
                summary = Analysis(SETTINGS, client, run=folder / f"{number}-{round_}").reduce()
                if summary.done != len(case.obs_ids):
                    raise AssertionError(f"{summary.done} of {len(case.obs_ids)} observations were reduced")
                if round_:  # the first round warms them up
                    seconds[number].append(summary.seconds)
    print("| workers | observations x rounds | reduce s | ms per observation | times the first |")
    print("|---|---|---|---|---|")
    first = median(seconds[workers[0]])
    for number in workers:
        took = median(seconds[number])
        print(
            f"| {number} | {len(case.obs_ids)} x {rounds} | {took:.2f} | "
            f"{1e3 * took / len(case.obs_ids):.1f} | {first / took:.2f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--no-gammapy", action="store_true", help="only the workers")
    arguments = parser.parse_args()
    python = os.environ.get("GAMMAPY_PYTHON")
    if not os.environ.get("GAMMAPY_DATA") or not (python or arguments.no_gammapy):
        sys.exit("set GAMMAPY_PYTHON (a python with Gammapy 2.1) and GAMMAPY_DATA (the public data)")
    if not arguments.no_gammapy:
        compare(arguments.rounds, str(python))
    if arguments.workers:
        scale(arguments.rounds, arguments.workers)


if __name__ == "__main__":
    main()
