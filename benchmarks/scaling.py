"""How a run grows with workers and with observations, on a simulated survey.

    python benchmarks/scaling.py [--observations 20 40 200] [--workers 1 2]

For each number of observations and of workers: seconds of the reductions and of the stack (from the run's
own events, without the start of the cluster), and the peak memory of one worker.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from peer import ONE_THREAD

COMMAND = [sys.executable, "-m", "gammaflow"]


def watch_workers(process: subprocess.Popen[bytes], peak: list[int], stop: threading.Event) -> None:
    """The largest resident memory that any worker process of a run reached, bytes."""
    while not stop.is_set():
        try:
            children = psutil.Process(process.pid).children(recursive=True)
            for child in children:
                if "spawn_main" in " ".join(child.cmdline()):
                    peak[0] = max(peak[0], child.memory_info().rss)
        except psutil.Error:  # a worker that has just ended
            pass
        time.sleep(0.05)


def run(config: Path, folder: Path, workers: int) -> tuple[float, float, int]:
    """Seconds of reducing and of stacking, and the peak memory of a worker, of one run."""
    peak, stop = [0], threading.Event()
    process = subprocess.Popen(
        [*COMMAND, "run", str(config), "--run", str(folder), "--workers", str(workers)],
        env={**os.environ, **ONE_THREAD},
        stdout=subprocess.DEVNULL,
    )
    watcher = threading.Thread(target=watch_workers, args=(process, peak, stop))
    watcher.start()
    status = process.wait()
    stop.set()
    watcher.join()
    if status != 0:
        raise RuntimeError(f"gammaflow run ended with status {status}")
    seconds = {"reduce": 0.0, "stack": 0.0}
    for line in (folder / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "StageFinished":
            seconds[event["stage"]] = event["seconds"]
    return seconds["reduce"], seconds["stack"], peak[0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--observations", type=int, nargs="+", default=[20, 40, 200])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    print(
        "| observations | workers | reduce s | ms per observation | stack s | peak memory of a worker, MiB |"
    )
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="gammaflow-scaling-") as scratch:
        for observations in arguments.observations:
            store = Path(scratch) / f"survey-{observations}"
            subprocess.run(
                [*COMMAND, "simulate", str(store), "--observations", str(observations), "--seed", "1"],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            for workers in arguments.workers:
                folder = Path(scratch) / f"run-{observations}-{workers}"
                reduce, stack, peak = run(store / "config.yaml", folder, workers)
                print(
                    f"| {observations} | {workers} | {reduce:.2f} | {1e3 * reduce / observations:.1f} | {stack:.2f} | "
                    f"{peak / 2**20:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
