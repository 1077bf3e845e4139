"""What the workflow itself costs per observation: reductions that do nothing, many of them.

The scheduler runs in a process of its own, so that its memory can be told from the rest. Three rows: the
engine alone (a function that returns at once), with a receipt written for each observation (what a run
really does), and the second run that finds everything done.

    python benchmarks/engine_overhead.py [--observations 10000] [--workers 2]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Client
from empty_reduction import FUNCTIONS, Setup

from gammaflow.dag.clusters import connect
from gammaflow.dag.dask_engine import DaskEngine
from gammaflow.dag.engine import Engine, SerialEngine
from gammaflow.dag.plan import Plan, make_plan
from gammaflow.dag.run import Run
from gammaflow.data import ObservationFiles

HERE = Path(__file__).parent


class SchedulerMemory:
    """A callback that reads the scheduler's memory, and how many tasks it holds, every so many events."""

    def __init__(self, pid: int, client: Client) -> None:
        self.pid, self.client = pid, client
        self.first = self.most = resident(pid)
        self.tasks = 0
        self._events = 0

    def __call__(self, event: Any) -> None:
        self._events += 1
        if self._events % 500 == 0:
            self.most = max(self.most, resident(self.pid))
            held = self.client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
            self.tasks = max(self.tasks, held)


def resident(pid: int) -> float:
    """Resident memory of a process in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1]) / 1024.0
    return 0.0


def plan_of(observations: int, with_receipt: bool) -> Plan:
    """A plan of observations without files, and without stacking."""
    files = [ObservationFiles(n, ()) for n in range(1, observations + 1)]
    return make_plan(files, ingredients={}, stacked=False, setup=Setup("x" * 1500, with_receipt))


@contextmanager
def cluster(workers: int) -> Iterator[tuple[Client, int]]:
    """A client of a scheduler and workers in processes of their own; and the scheduler's process id."""
    folder = Path(tempfile.mkdtemp())
    address = folder / "scheduler.json"
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    scheduler += ["--scheduler-file", str(address)]
    worker = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        "--scheduler-file",
        str(address),
        "--nthreads",
        "1",
    ]
    worker += ["--no-dashboard", "--local-directory", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen(scheduler, stderr=subprocess.DEVNULL, env=environment)]
    try:
        processes += [
            subprocess.Popen(worker, stderr=subprocess.DEVNULL, env=environment) for _ in range(workers)
        ]
        end = time.monotonic() + 60.0
        while not address.exists() and time.monotonic() < end:
            time.sleep(0.1)
        with connect(json.loads(address.read_text())["address"]) as client:
            client.wait_for_workers(workers, timeout=60)
            yield client, processes[0].pid
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def timed(engine: Engine, observations: int, folder: Path, with_receipt: bool, *callbacks: Any) -> float:
    """Seconds of a run, planning not counted."""
    run = Run(folder, plan_of(observations, with_receipt), engine, FUNCTIONS, callbacks=callbacks)
    started = time.perf_counter()
    run.reduce()
    return time.perf_counter() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--observations", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    n = options.observations
    folder = Path(tempfile.mkdtemp(prefix="gammaflow-overhead-"))
    started = time.perf_counter()
    plan_of(n, False)
    planning = time.perf_counter() - started
    print(f"{n} observations without work, {options.workers} workers of one thread")
    print(f"{'':42} {'s':>8} {'ms/observation':>15} {'scheduler MB':>20} {'tasks held':>11}")
    print(f"{'planning':42} {planning:8.2f} {1e3 * planning / n:15.3f}")
    try:
        with cluster(options.workers) as (client, pid):
            timed(DaskEngine(client), 200, folder / "warm-up", False)
            for label, receipts, name in (
                ("engine alone", False, "alone"),
                ("with receipts", True, "receipts"),
                ("second run: all receipts read, none redone", True, "receipts"),
            ):
                memory = SchedulerMemory(pid, client)
                seconds = timed(DaskEngine(client), n, folder / name, receipts, memory)
                grown = f"{memory.first:.0f} -> {memory.most:.0f}"
                print(f"{label:42} {seconds:8.2f} {1e3 * seconds / n:15.3f} {grown:>20} {memory.tasks:11}")
        seconds = timed(SerialEngine(), n, folder / "serial", True)
        print(f"{'serial engine, with receipts':42} {seconds:8.2f} {1e3 * seconds / n:15.3f}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
