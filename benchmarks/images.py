"""Images of one source in one dataset: 90 x 90 pixels, 20 true energies, one thread.

    python benchmarks/images.py [--rounds N]

The budget is 4 ms for a Gaussian's images with its derivatives by longitude, latitude and size.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import fit_simulation as simulation
import numpy as np

from gammaflow.datasets import MapDataset, MapDatasetGeometry
from gammaflow.likelihood import SourceImage, source_image
from gammaflow.maps import MapAxis, WcsGeom
from gammaflow.modeling import (
    DiskSpatialModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    ShellSpatialModel,
    SkyModel,
    SpatialModel,
)

PIXELS = 90
PLACE = {"lon_0": "83.63 deg", "lat_0": "22.01 deg", "frame": "icrs"}
CASES: dict[str, tuple[SpatialModel, tuple[str, ...]]] = {
    "point": (PointSpatialModel(**PLACE), ("lon_0", "lat_0")),
    "Gaussian 0.1 deg": (GaussianSpatialModel(sigma="0.1 deg", **PLACE), ("lon_0", "lat_0", "sigma")),
    "disk 0.3 deg": (DiskSpatialModel(r_0="0.3 deg", **PLACE), ("lon_0", "lat_0", "r_0")),
    "shell 0.2 + 0.1 deg": (
        ShellSpatialModel(radius="0.2 deg", width="0.1 deg", **PLACE),
        ("lon_0", "lat_0", "radius", "width"),
    ),
}


def dataset() -> MapDataset:
    energy = MapAxis.from_energy_bounds(*simulation.ENERGY, unit="TeV")
    energy_true = MapAxis.from_energy_bounds(*simulation.ENERGY_TRUE, unit="TeV", name="energy_true")
    geom = WcsGeom.create(simulation.CENTER, simulation.PIXEL, npix=PIXELS, axes=[energy])
    geometry = MapDatasetGeometry.create(geom, energy_true, binsz_irf=simulation.IRF_PIXEL)
    return MapDataset.from_arrays(geometry, "one", **simulation.observation(0, 1, PIXELS).arrays)


def milliseconds(work: Callable[[], object], rounds: int) -> float:
    work()
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(times)


def images(source: SourceImage, values: np.ndarray, order: int) -> None:
    """Every image once, and every first derivative; nothing is kept from before."""
    state = source.state(values, order)
    for _ in state.images():
        pass
    for number in range(len(values) if order else 0):
        for _ in state.derivative_images(number):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    data = dataset()
    print("| source | window | frequencies | set-up ms | images ms | with first derivatives ms |")
    print("|---|---|---|---|---|---|")
    for name, (spatial, parameters) in CASES.items():
        model = SkyModel(PowerLawSpectralModel(), spatial, name="source")
        source = source_image(data, model, parameters)
        assert source is not None
        start = source.start
        # a little off and back: what depends on the shape is made anew each time
        steps = iter(np.tile([1e-9, -1e-9], 10 * rounds + 10))

        def plain(source: SourceImage = source, start: np.ndarray = start) -> None:
            images(source, start + next(steps), 0)  # noqa: B023  # used up within this turn of the loop

        def derived(source: SourceImage = source, start: np.ndarray = start) -> None:
            images(source, start + next(steps), 1)  # noqa: B023  # used up within this turn of the loop

        def set_up(model: SkyModel = model, parameters: tuple[str, ...] = parameters) -> None:
            source_image(data, model, parameters)

        count = source.state(start).transfers.frequencies.count
        row = [milliseconds(work, rounds) for work in (set_up, plain, derived)]
        print(f"| {name} | {source.size}^2 | {count} | " + " | ".join(f"{t:.2f}" for t in row) + " |")


if __name__ == "__main__":
    main()
