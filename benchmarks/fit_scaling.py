"""How a joint fit grows with the number of datasets and of workers, on simulated full-size observations.

    python benchmarks/fit_scaling.py [--datasets 10 100 1000] [--workers 1 2] [--responses 10] [--repeat 3]

Datasets have 10 x 350 x 350 bins and 20 true energies. The source's position and size are frozen; its spectrum
(three parameters) is shared, and each dataset has a norm and a tilt of its own. A few sets of responses are used
again and again, each time with other counts. Whoever condenses a dataset draws its counts, so that no more than one
is in memory; in this process that time is told apart, on workers it is part of the set-up.

First table: one process. "fit" is `Fit.run` on condensed datasets, with covariance; "together" is condensing and
fitting, what a user waits for after the datasets have been read; CPU is the process's own time, which other programs
on the machine disturb less.

Second table: the largest number of datasets on worker processes of one thread, through Dask. It means something only
where each worker has a core of its own. "set-up" is the condensing (and the simulating, which takes the place of
reading), "times faster" compares with the first number of workers. "workers busy" is the time that the workers spent
on the fit's questions as a share of what they had, "client" the CPU share of this process, which no worker takes off.
"""

from __future__ import annotations

import argparse
import gc
import os
import pickle
import time
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import fit_simulation as simulation
import numpy as np
from fit_cases import FitCase, cutoff_power_law, gaussian
from numpy.typing import NDArray
from peer import ONE_THREAD

os.environ.update(ONE_THREAD)  # before numpy's libraries start threads; workers inherit it

from gammaflow.dag.clusters import local_cluster
from gammaflow.dag.fit_datasets import StoredDataset
from gammaflow.dag.fit_workers import DaskEvaluators
from gammaflow.datasets import MapDataset, MapDatasetGeometry
from gammaflow.fit import Evaluator, EvaluatorFactory, Fit, FitResult, LocalEvaluator, Problem
from gammaflow.likelihood import Reply, Request
from gammaflow.maps import MapAxis, WcsGeom
from gammaflow.modeling import Models

PIXELS = 350
CASE = FitCase(
    "simulated",
    "simulated",
    spectral=cutoff_power_law(2.6, 2e-12, 0.03),
    spatial=gaussian(*simulation.CENTER, simulation.SIZE, "icrs", frozen=True),
    tilt=True,
)
ENERGY_TRUE = MapAxis.from_energy_bounds(*simulation.ENERGY_TRUE, unit="TeV", name="energy_true")
simulating = [0.0]  # CPU s, in this process


@lru_cache(maxsize=1)
def geometry() -> MapDatasetGeometry:
    energy = MapAxis.from_energy_bounds(*simulation.ENERGY, unit="TeV")
    geom = WcsGeom.create(simulation.CENTER, simulation.PIXEL, npix=PIXELS, axes=[energy])
    return MapDatasetGeometry.create(geom, ENERGY_TRUE, binsz_irf=simulation.IRF_PIXEL)


@cache
def responses(number: int, of: int) -> tuple[MapDataset, NDArray[np.float64]]:
    """A dataset without counts, and the cumulative sum of what is expected."""
    made = simulation.observation(number, of, PIXELS)
    return MapDataset.from_arrays(geometry(), "responses", **made.arrays), np.cumsum(made.expected)


@dataclass(frozen=True, eq=False)
class SimulatedDataset(StoredDataset):
    """A dataset that is drawn where others are read: small, so that it travels."""

    number: int = 0
    of: int = 1

    def load(self) -> MapDataset:
        begin = time.process_time()
        empty, cumulative = responses(self.number % self.of, self.of)
        counts = simulation.drawn(cumulative, self.number).reshape(geometry().shapes["counts"])
        loaded = empty.with_arrays(counts=counts)
        loaded.data.attrs["name"] = self.name
        simulating[0] += time.process_time() - begin
        return loaded


def datasets(count: int, sets: int) -> list[SimulatedDataset]:
    return [
        SimulatedDataset(f"obs-{i}", Path(), "", {}, ENERGY_TRUE, number=i, of=min(sets, count))
        for i in range(count)
    ]


@dataclass
class Held:
    """Condensed datasets that outlive a fit, and the size of what they reply with."""

    evaluator: Evaluator
    replies: list[int] = field(default_factory=list)

    def __call__(self, problem: Problem, options: object) -> Held:
        return self

    def evaluate(self, request: Request) -> Reply:
        reply = self.evaluator.evaluate(request)
        self.replies.append(len(pickle.dumps(reply, protocol=5)))
        return reply

    def close(self) -> None:
        """Kept for the next fit."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.evaluator, name)


@dataclass(frozen=True)
class Measured:
    """One number of datasets in one place; times in s: medians, and that of the last fit, which made the result."""

    set_up: float
    set_up_cpu: float
    fit: float
    cpu: float
    last: float
    result: FitResult
    reply: int
    condensed: int


def measure(count: int, sets: int, repeat: int, factory: EvaluatorFactory) -> Measured:
    """Condense once, and fit a few times."""
    given = datasets(count, sets)
    models = Models.from_dict(CASE.models([d.name for d in given]))
    problem = Problem.of(given, models)
    gc.collect()
    begin, own = time.perf_counter(), time.process_time()
    held = Held(factory(problem, None))
    set_up, set_up_cpu = time.perf_counter() - begin, time.process_time() - own
    seconds, cpu = [], []
    for _ in range(repeat):
        models = Models.from_dict(CASE.models([d.name for d in given]))
        begin, own = time.perf_counter(), time.process_time()
        result = Fit().run(given, models, client=held)
        seconds.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - own)
    if not result.success:
        raise AssertionError(f"{count} datasets: {result.message}")
    nbytes = sum(info.nbytes for info in held.info())
    held.evaluator.close()
    return Measured(
        set_up, set_up_cpu, median(seconds), median(cpu), seconds[-1], result, max(held.replies), nbytes
    )


def check(measured: Measured) -> None:
    """The fit must have found what was simulated."""
    truth = {
        "index": simulation.INDEX,
        "amplitude": simulation.AMPLITUDE,
        "lambda_": simulation.CUTOFF,
    }
    for name, true in truth.items():
        found = measured.result.models["source"].parameters[name]
        if not abs(found.value - true) < 5 * found.error:
            raise AssertionError(f"{name}: {found.value} +- {found.error}, simulated with {true}")


def peak_memory() -> float:
    """The largest resident memory of this process so far, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--responses", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores\n")
    print(
        "| datasets | parameters | condense CPU s | ms per dataset | fit s | fit CPU s | CPU ms per dataset | trips | "
        "together CPU ms per dataset | reply bytes | condensed MiB | peak MiB |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for number in range(arguments.responses):
        responses(number, arguments.responses)
    measure(2, 2, 1, LocalEvaluator)  # warms up
    for count in arguments.datasets:
        simulating[0] = 0.0
        one = measure(count, arguments.responses, arguments.repeat, LocalEvaluator)
        check(one)
        condense, result = one.set_up_cpu - simulating[0], one.result
        print(
            f"| {count} | {len(result.fitted)} | {condense:.2f} | {1e3 * condense / count:.1f} | {one.fit:.3f} | "
            f"{one.cpu:.3f} | {1e3 * one.cpu / count:.2f} | {result.trips} | "
            f"{1e3 * (condense + one.cpu) / count:.1f} | {one.reply} | "
            f"{one.condensed / 2**20:.0f} | {peak_memory():.0f} |",
            flush=True,
        )
    print(
        "\n| workers | datasets | set-up s | fit s | trips | workers busy | client | set-up, times faster | "
        "fit, times faster | together, times faster |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    first: Measured | None = None
    for workers in arguments.workers:
        with local_cluster(workers, dashboard=False) as client:
            client.wait_for_workers(workers)
            found = measure(
                max(arguments.datasets), arguments.responses, arguments.repeat, DaskEvaluators(client)
            )
        check(found)
        first = first or found
        busy = found.result.timings["datasets"] / (workers * found.last)
        print(
            f"| {workers} | {max(arguments.datasets)} | {found.set_up:.1f} | {found.fit:.3f} | {found.result.trips} | "
            f"{100 * busy:.0f} % | {100 * found.cpu / found.fit:.0f} % | {first.set_up / found.set_up:.2f} | "
            f"{first.fit / found.fit:.2f} | {(first.set_up + first.fit) / (found.set_up + found.fit):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
