r"""Stacking datasets: a sum over observations that may be taken in any grouping.

``lift(dataset) -> Partial``, ``combine(partials) -> Partial``, ``finish(Partial) -> dataset``. A partial
carries sums only; the one division is in `finish`. With :math:`k` a bin of reconstructed energy, :math:`l`
of true energy, :math:`j` a dataset, :math:`e_{jk}` its ``mask_safe`` and :math:`w_{jk}` that mask at the
pixels of the response grid:

.. math::

    \mathrm{counts}_k &= \sum_j \mathrm{counts}_{jk} e_{jk} \qquad
    \mathrm{bkg}_k = \sum_j \mathrm{bkg}_{jk} e_{jk} \\
    \mathrm{exposure}_l &= \sum_j \mathrm{exposure}_{jl} \bigvee_k e_{jk} \\
    \mathrm{psf}_l &= \sum_j \mathrm{psf}_{jl}\, \epsilon_{jl} \bigvee_k w_{jk} \Big/
                      \sum_j \epsilon_{jl} \bigvee_k w_{jk} \\
    \mathrm{edisp}_{kl} &= \sum_j \mathrm{edisp}_{jkl}\, \epsilon_{jl} w_{jk} \Big/
                           \sum_j \epsilon_{jl} \bigvee_k w_{jk}

with :math:`\epsilon` the exposure of the psf or edisp on its own grid; where the sum of the weights is zero
the result is zero. A run's rows of the dispersion below its threshold count for nothing, so that predicted
counts are conserved. The background is that with its model applied. ``mask_safe`` is the union,
``mask_fit`` is dropped.

Of ON and OFF counts with acceptances :math:`a_{jk}` and the ratio :math:`\alpha_{jk}` of those of ON and OFF,

.. math::

    A_k = \sum_j a_{jk} e_{jk} \qquad N_k = \sum_j n^\mathrm{off}_{jk} e_{jk} \qquad
    B_k = \sum_j \alpha_{jk} n^\mathrm{off}_{jk} e_{jk}

are carried, and make the acceptance :math:`A_k`, the OFF counts :math:`N_k`, and the OFF acceptance
:math:`A_k N_k / B_k`, so that the background :math:`B_k` is that of the operands. In bins without OFF counts
the latter is :math:`A_k \sum N / \sum B`, with sums over all bins.

Early versions of this rule set the stacked acceptance to one and scaled that of OFF: alpha, the background and the
statistic are the same.

One number differs from Gammapy 2.1's on purpose: the weights :math:`w_{jk}` of the dispersion are the mask of that very
energy, at the nearest pixel. There the mask is interpolated between energies as well, and extrapolated beyond the map,
and whatever comes out above zero counts as safe: rounding then lets a masked energy beside a safe one into the stacked
dispersion. Where all runs agree on an energy, the two are equal.

Good time intervals are united. A dataset without one safe bin adds nothing to any sum, nor its time, but
its observations stay listed, with ``used`` False. Rows are put in the order of (tstart, obs_id), so that
they do not depend on the grouping; float sums are taken in the order of the operands: the same grouping
gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gammaflow.data import GTI
from gammaflow.datasets.accumulator import Accumulator
from gammaflow.datasets.box import Box
from gammaflow.datasets.counts_dataset import CountsDataset
from gammaflow.datasets.dataset import dataset_type
from gammaflow.datasets.dataset_geometry import DatasetGeometry
from gammaflow.datasets.observations import REFERENCE_TIME, parse_reference
from gammaflow.datasets.partial import Partial
from gammaflow.datasets.rebinning import balanced_acceptance_off
from gammaflow.errors import StackingError

_Dataset = TypeVar("_Dataset", bound=CountsDataset)


def lift(dataset: CountsDataset, parent: DatasetGeometry) -> Partial:
    """One dataset as sums on its own part of ``parent``.

    Parameters
    ----------
    dataset : CountsDataset
        On ``parent`` or a cutout of it.
    parent : DatasetGeometry
        The whole geometry.

    Raises
    ------
    GeometryError
        When the dataset's geometry is no part of ``parent``; the error names the number that differs.
    StackingError
        When a safe bin holds a value that is not finite.
    """
    total = Accumulator(parent)
    total.add(dataset)
    return total.partial()


def combine(partials: Sequence[Partial]) -> Partial:
    """The sum of partials, taken in their order; the operands stay as they are.

    Raises
    ------
    StackingError
        When there is nothing to combine, or the operands do not carry the same quantities.
    GeometryError
        When they belong to different geometries.
    """
    if not partials:
        raise StackingError("no partial sums to combine", where="combine", hint="Give at least one")
    boxes = [p.box for p in partials if p.box is not None]
    total = Accumulator(partials[0].parent, Box.union(boxes) if boxes else None)
    for partial in partials:
        total.add_partial(partial)
    return total.partial()


def finish(partial: Partial, name: str = "stacked") -> Any:
    """The dataset that the sums make: responses divided by their weights, intervals united, rows in order.

    It covers the whole parent geometry, with zeros and no safe bins where nothing was observed.

    Raises
    ------
    StackingError
        When a bin holds more counts than a 32 bit integer holds.
    """
    parent, box = partial.parent, partial.box
    arrays: dict[str, Any] = {"mask_safe": np.zeros(parent.shapes["mask_safe"], dtype=bool)}
    if box is not None:
        finished = {
            q: v for q, v in partial.sums.items() if "counts_off" not in partial.sums or q != "background"
        }
        if "counts_off" in partial.sums:
            sums = (partial.sums[q] for q in ("acceptance", "counts_off", "background"))
            finished["acceptance_off"] = balanced_acceptance_off(*sums)
        for quantity, values in finished.items():
            arrays[quantity] = _finished(partial, quantity, values, box)
    rows = partial.observations.in_time_order()
    start, stop = united(partial.gti)
    kind = dataset_type(partial.dataset_type or parent.default_type)
    assert issubclass(kind, CountsDataset)  # nothing else is lifted
    return kind.from_arrays(
        parent,
        name,
        gti=GTI(start, stop, parse_reference(REFERENCE_TIME)),
        observations=rows,
        meta=partial.meta,
        **arrays,
    )


def stack(
    datasets: Iterable[_Dataset], name: str = "stacked", geometry: DatasetGeometry | None = None
) -> _Dataset:
    """Stack datasets in process, in their order.

    Parameters
    ----------
    datasets : iterable of CountsDataset
        All of one type.
        Taken one at a time: a generator keeps the memory small.
    name : str
        Name of the result.
    geometry : DatasetGeometry, optional
        The whole geometry; that of which the first dataset is a part when not given.

    Raises
    ------
    GeometryError
        When a dataset is no part of the geometry.
    StackingError
        When there are none, or they do not hold the same quantities.
    """
    total = None if geometry is None else Accumulator(geometry, geometry.whole_box)
    for dataset in datasets:
        if total is None:
            parent = dataset.geometry.parent
            total = Accumulator(parent, parent.whole_box)
        total.add(dataset)
    if total is None:
        raise StackingError("no datasets to stack", where="stack", hint="Give at least one, or a geometry")
    stacked: _Dataset = finish(total.partial(), name)
    return stacked


def _finished(partial: Partial, quantity: str, values: NDArray[Any], box: Box) -> NDArray[Any]:
    """One quantity on the whole geometry, divided where it is a numerator, in the number type of the schema."""
    if quantity in ("psf", "edisp"):
        weight = partial.sums[f"{quantity}_exposure"][:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.where(weight > 0, values / weight, 0.0)
    stored = {"counts": np.int32, "counts_off": np.int32, "mask_safe": np.bool_}.get(quantity, np.float32)
    if stored is np.int32 and values.size and values.max() > np.iinfo(np.int32).max:
        raise StackingError(
            f"a bin holds {int(values.max())} {quantity}, more than a 32 bit integer",
            where="stack",
            hint="Use finer bins, or fewer observations a stack",
        )
    whole: NDArray[Any] = np.zeros(partial.parent.cube_shapes[quantity], dtype=stored)
    whole[box.of(quantity)] = values
    return whole.reshape(partial.parent.shapes[quantity])


def united(intervals: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intervals (n, 2) in time order with overlapping and touching ones merged, as starts and stops."""
    if not len(intervals):
        return np.zeros(0), np.zeros(0)
    ordered = intervals[np.lexsort((intervals[:, 1], intervals[:, 0]))]
    reach = np.maximum.accumulate(ordered[:, 1])
    first = np.concatenate(([True], ordered[1:, 0] > reach[:-1]))
    last = np.concatenate((first[1:], [True]))
    return ordered[first, 0], reach[last]
