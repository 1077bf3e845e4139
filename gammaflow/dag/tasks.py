"""What runs on the workers: reduce an observation, add up results, finish a stack.

Thin shells around the makers, the stacking rules and the Zarr files. Each takes a specification, writes
arrays, then the receipt, and returns the receipt; data never travel through the scheduler.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from regions import CircleSkyRegion

from gammaflow.config import AnalysisConfig
from gammaflow.dag.analysis_plan import Setup
from gammaflow.dag.engine import Attempt
from gammaflow.dag.faults import fault_point
from gammaflow.dag.process_memory import keep_freed_memory
from gammaflow.dag.receipts import DatasetNumbers, Receipt, read_receipt, write_receipt
from gammaflow.dag.run_folder import RunFolder, measure
from gammaflow.dag.specs import ReduceSpec, StackSpec, TaskFunctions, TaskSpec, check_token
from gammaflow.datasets import (
    Accumulator,
    Box,
    CountsDataset,
    MapDatasetGeometry,
    SpectrumDatasetGeometry,
)
from gammaflow.datasets.stacking import finish
from gammaflow.io import WriteReceipt, read_dataset, read_partial, write_dataset, write_partial
from gammaflow.makers import MakerChain, make_chain
from gammaflow.maps import RegionGeom

PACKAGES: Final = ("gammaflow-survey", "numpy", "scipy", "astropy", "regions", "xarray", "zarr")
"""Packages whose versions a receipt names."""


@dataclass(frozen=True)
class Workshop:
    """What a process prepares once for all reductions of a configuration."""

    geometry: MapDatasetGeometry | SpectrumDatasetGeometry
    chain: MakerChain


@lru_cache(maxsize=4)
def workshop(setup: Setup) -> Workshop:
    """The geometry and the makers of a configuration, prepared once a process."""
    keep_freed_memory()
    config = AnalysisConfig.from_yaml(setup.yaml)
    geometry = reference_geometry(config)
    return Workshop(geometry, make_chain(config.datasets, config.flow.invalid_response, geometry.geom))


def reference_geometry(config: AnalysisConfig) -> MapDatasetGeometry | SpectrumDatasetGeometry:
    """The whole map of a configuration, of which all its datasets are parts; or the region of its spectra."""
    geom, on_region = config.datasets.geom, config.datasets.on_region
    if config.datasets.type == "1d":
        region = RegionGeom.create(
            CircleSkyRegion(on_region.skycoord, on_region.radius), [geom.energy_axis()]
        )
        return SpectrumDatasetGeometry.create(region, energy_axis_true=geom.energy_true_axis())
    return MapDatasetGeometry.create(
        geom.to_geom(), energy_axis_true=geom.energy_true_axis(), binsz_irf=geom.wcs.binsize_irf
    )


def reduce_observation(spec: ReduceSpec, attempt: Attempt) -> Receipt:
    """Reduce one observation to a dataset and write it to ``observations/<obs_id>.zarr``.

    Parameters
    ----------
    spec : ReduceSpec
        ``spec.setup`` is a `Setup`.
    attempt : Attempt
        Which attempt this is.

    Returns
    -------
    receipt : Receipt
        Of the dataset; written last.

    Raises
    ------
    DataError
        The observation cannot be reduced.
    StorageError
        The dataset cannot be written.
    """
    with _task(spec, attempt) as work:
        if work.standing is not None:
            return work.standing
        shop = workshop(spec.setup)
        dataset = shop.chain.run(spec.files.open(), shop.geometry)
        check_token(spec)
        written = write_dataset(dataset, work.group, overwrite=True)
        return work.commit(written, dataset.geometry.box_in(shop.geometry), numbers(dataset))


def stack_partials(spec: StackSpec, attempt: Attempt) -> Receipt:
    """Add up the operands of a node, in order, and write the sums to ``partials/<key>.zarr``.

    Parameters and errors as for `reduce_observation`; also StackingError, GeometryError where operands do not
    fit together, and CorruptFileError where one cannot be read.
    """
    with _task(spec, attempt) as work:
        if work.standing is not None:
            return work.standing
        partial = _added(spec).partial()
        check_token(spec)
        return work.commit(write_partial(partial, work.group, overwrite=True), partial.box)


def finish_stack(spec: StackSpec, attempt: Attempt) -> Receipt:
    """Add up the operands of a root, divide, and write the dataset to ``stacked/<name>.zarr``.

    Parameters and errors as for `stack_partials`.
    """
    with _task(spec, attempt) as work:
        if work.standing is not None:
            return work.standing
        dataset = finish(_added(spec).partial(), spec.name)
        check_token(spec)
        written = write_dataset(dataset, work.group, overwrite=True)
        return work.commit(written, None, numbers(dataset))


FUNCTIONS: Final = TaskFunctions(reduce=reduce_observation, stack=stack_partials, finish=finish_stack)


def numbers(dataset: CountsDataset) -> DatasetNumbers:
    """The numbers that sum up a dataset; the background is that with its fitted norm applied, or alpha times OFF."""
    summary = dataset.summary()
    measured = summary.stat_type == "wstat"  # what is predicted there depends on the ON counts
    return DatasetNumbers(
        name=summary.name,
        counts=float(summary.counts),
        background=summary.background if measured else summary.npred_background,
        excess=summary.excess,
        exposure_min=summary.exposure_min,
        exposure_max=summary.exposure_max,
        livetime=summary.livetime,
        ontime=summary.ontime,
        n_bins=summary.n_bins,
        n_fit_bins=summary.n_fit_bins,
    )


def _added(spec: StackSpec) -> Accumulator:
    """The sum of the operands. One is read, added and let go before the next: memory holds two at a time."""
    folder = RunFolder(spec.folder)
    # Arrays that fit from the start need not grow, which would copy them. Where a box is unknown, they grow.
    receipts = (read_receipt(folder.receipt(stage, name)) for stage, name in spec.operands)
    boxes = [_box(receipt.box) for receipt in receipts if receipt is not None and receipt.box]
    total = Accumulator(workshop(spec.setup).geometry, Box.union(boxes) if boxes else None)
    for stage, name in spec.operands:
        group = folder.group(stage, name)
        if stage == "reduce":
            total.add(read_dataset(group))
        else:
            total.add_partial(read_partial(group))
    return total


def _box(sides: tuple[int, ...]) -> Box:
    y0, y1, x0, x1, v0, v1, u0, u1 = sides
    return Box((y0, y1), (x0, x1), (v0, v1), (u0, u1))


@dataclass
class _Work:
    """One task under way: where it writes, and how it commits."""

    spec: TaskSpec
    attempt: Attempt
    folder: RunFolder
    standing: Receipt | None = None
    heard: list[str] = field(default_factory=list)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    clock: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.group = self.folder.group(self.spec.stage, self.spec.name)

    def commit(
        self, written: WriteReceipt, box: Box | None = None, summary: DatasetNumbers | None = None
    ) -> Receipt:
        """Write the receipt: from now on the node is done."""
        spec = self.spec
        fault_point("after_arrays", spec.name)
        receipt = Receipt(
            stage=spec.stage,
            name=spec.name,
            key=spec.key,
            group=str(self.group.relative_to(self.folder.path)),
            arrays=written.digest,
            size=written.bytes,
            files=written.files,
            box=() if box is None or box.is_empty else (*box.y, *box.x, *box.y_irf, *box.x_irf),
            summary=summary,
            ingredients=spec.ingredients,
            inputs=spec.inputs if isinstance(spec, ReduceSpec) else (),
            versions=versions(),
            host=socket.gethostname(),
            worker=self.attempt.worker,
            started=self.started,
            seconds=time.perf_counter() - self.clock,
            attempt=self.attempt.number,
            warnings=tuple(dict.fromkeys(self.heard)),
        )
        fault_point("before_receipt", spec.name)
        receipt = write_receipt(self.folder.receipt(spec.stage, spec.name), receipt)
        fault_point("after_receipt", spec.name)
        return receipt


@contextmanager
def _task(spec: TaskSpec, attempt: Attempt) -> Iterator[_Work]:
    """The frame of every task: withdraw what stands, unless it is what is wanted, and listen for warnings."""
    folder = RunFolder(spec.folder)
    work = _Work(spec, attempt, folder)
    standing = read_receipt(folder.receipt(spec.stage, spec.name))
    # Dask runs a task again when a worker dies with its report: then the work is done already.
    if (
        standing is not None
        and not standing.dropped
        and standing.key == spec.key
        and measure(work.group) == (standing.size, standing.files)
    ):
        work.standing = standing
    else:
        check_token(spec)
        folder.forget(spec.stage, spec.name)
    with _listening(work.heard):
        yield work


@contextmanager
def _listening(heard: list[str]) -> Iterator[None]:
    """Collect what this thread warns of, by either of Python's ways."""
    listener = _Listener(heard)
    logger = logging.getLogger("gammaflow")
    logger.addHandler(listener)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            yield
            heard += [f"{item.category.__name__}: {item.message}" for item in caught]
    finally:
        logger.removeHandler(listener)


class _Listener(logging.Handler):
    """Keeps the warnings logged in the thread that made it."""

    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._heard = heard
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._heard.append(record.getMessage())


@cache
def versions() -> Mapping[str, str]:
    """Versions of what computes here."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    if job := os.environ.get("SLURM_JOB_ID"):
        found["slurm job"] = job
    return found
