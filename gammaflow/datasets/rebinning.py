r"""Coarser bins, fewer bins, and bins at the rim: other datasets from one.

Bins are added where they are safe. Of ON and OFF counts the acceptances are added, or averaged, and the OFF
acceptance is such that the background, alpha times the OFF counts, is that of the bins that were added:
:math:`A_\mathrm{off} = A N / B`, see `gammaflow.datasets.stacking`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammaflow.datasets.geometry import MapDatasetGeometry
from gammaflow.errors import GeometryError
from gammaflow.maps import MapAxis, WcsGeom

if TYPE_CHECKING:
    from gammaflow.datasets.counts_dataset import CountsDataset

_Dataset = TypeVar("_Dataset", bound="CountsDataset")
Arrays = dict[str, Any]
Floats = NDArray[np.float64]
Reduction = Callable[[NDArray[Any]], NDArray[Any]]


def balanced_acceptance_off(acceptance: NDArray[Any], off: NDArray[Any], background: NDArray[Any]) -> Floats:
    """The OFF acceptance A N / B that makes alpha times the OFF counts the background.

    Where there is no background A (sum N) / (sum B), with sums over all bins; zero when there is none anywhere.
    """
    total = background.sum()
    overall = acceptance * (off.sum() / total if total > 0 else 0.0)
    return np.asarray(np.divide(acceptance * off, background, out=overall, where=background > 0))


def reduced(
    dataset: CountsDataset,
    add: Reduction,
    any_: Reduction,
    acceptance: Callable[[Floats, NDArray[np.bool_]], Floats],
) -> Arrays:
    """Counts, background, acceptances and masks of a dataset in other bins.

    Parameters
    ----------
    dataset : CountsDataset
    add, any_ : callable
        Add the bins of an array that become one, and say whether any of them is True.
    acceptance : callable
        Makes acceptances (float64) of those of the bins and of their safe mask.
    """
    safe = dataset.array("mask_safe")
    if safe is None:
        safe = np.ones(dataset.data_shape, dtype=bool)
    arrays: Arrays = {n: any_(m) for n in ("mask_safe", "mask_fit") if (m := dataset.array(n)) is not None}
    for name in ("counts", "counts_off"):
        counts = dataset.array(name)
        if counts is not None:
            arrays[name] = add(np.where(safe, counts, 0).astype(np.int64))
    background = dataset.background_counts()
    total = None if background is None else add(np.where(safe, background, 0.0))
    if dataset.stat_type != "wstat":
        arrays["background"] = total
    elif (on := dataset.array("acceptance")) is not None:
        arrays["acceptance"] = acceptance(on.astype(np.float64), safe)
        if total is not None:
            arrays["acceptance_off"] = balanced_acceptance_off(
                arrays["acceptance"], arrays["counts_off"], total
            )
    return arrays


def _responses(dataset: CountsDataset) -> Arrays:
    names = ("exposure", "psf", "psf_exposure", "edisp", "edisp_exposure")
    return {n: dataset.array(n) for n in names if n in dataset.data.variables}


# Energies


def slice_by_idx(dataset: _Dataset, slices: Mapping[str, slice], name: str | None = None) -> _Dataset:
    """Some bins of ``energy`` and ``energy_true``, as views; models go with them.

    Parameters
    ----------
    dataset : CountsDataset
    slices : mapping of str to slice
        By axis; a slice has no step.
    name : str, optional
        Of the result.
    """
    axes = {"energy": dataset.geometry.energy_axis, "energy_true": dataset.geometry.energy_axis_true}
    bounded = {}
    for axis, part in slices.items():
        if axis not in axes or not isinstance(part, slice) or part.step not in (None, 1):
            raise GeometryError(
                f"slice {part!r} of axis {axis!r}",
                where=f"dataset {dataset.name}",
                hint="Give slices without a step of energy or energy_true",
            )
        first, last, _ = part.indices(axes[axis].nbin)
        axes[axis] = axes[axis].slice(first, last)
        bounded[axis] = slice(first, last)
    return dataset.part(dataset.geometry.with_axes(axes["energy"], axes["energy_true"]), name, **bounded)


def slice_by_energy(
    dataset: _Dataset, energy_min: object = None, energy_max: object = None, name: str | None = None
) -> _Dataset:
    """The bins between two energies (Quantity, str, or float in TeV), each moved to the nearest edge."""
    edges = dataset.geometry.energy_axis.edges
    bounds = [
        edges[k] if energy is None else in_tev(energy) for k, energy in ((0, energy_min), (-1, energy_max))
    ]
    first, last = nearest_edges(dataset.geometry.energy_axis, np.array(bounds))
    return slice_by_idx(dataset, {"energy": slice(int(first), int(last))}, name)


def in_tev(energy: object) -> float:
    """An energy in TeV; a bare number is one."""
    quantity = u.Quantity(energy)
    return float(quantity.value if quantity.unit == u.dimensionless_unscaled else quantity.to_value(u.TeV))


def nearest_edges(axis: MapAxis, edges: Floats) -> NDArray[np.intp]:
    """Numbers of the edges of an axis that are nearest, in its scale, to some others; each once.

    Raises
    ------
    GeometryError
        When fewer than two are left.
    """
    position = np.clip(axis.coord_to_pix(edges) + 0.5, 0, axis.nbin)
    index = np.unique(np.round(position)).astype(np.intp)
    if len(index) < 2:
        raise GeometryError(
            f"{edges[0]:g} to {edges[-1]:g} {axis.unit} holds no bin between {axis.edges[0]:g} and "
            f"{axis.edges[-1]:g} {axis.unit}",
            where=f"axis {axis.name!r}",
            hint="Choose edges among those of the dataset",
        )
    return index


def resample_energy_axis(dataset: _Dataset, energy_axis: MapAxis, name: str | None = None) -> _Dataset:
    """Coarser bins of reconstructed energy.

    Safe bins are added: counts, background (with its norm and tilt), acceptances, and rows of the energy
    dispersion kernel. A bin is safe, or chosen for the fit, when any of its bins was. Models are left out.

    Parameters
    ----------
    dataset : CountsDataset
    energy_axis : MapAxis
        Its edges are moved to the nearest of the dataset.
    name : str, optional
        Of the result.
    """
    old = dataset.geometry.energy_axis
    edges = nearest_edges(old, energy_axis.edges)
    first, last = int(edges[0]), int(edges[-1])
    starts = edges[:-1] - first

    def add(values: NDArray[Any], axis: int = 0) -> NDArray[Any]:
        inner = values[(slice(None),) * axis + (slice(first, last),)]
        return np.asarray(np.add.reduceat(inner, starts, axis=axis))

    def any_(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.asarray(np.logical_or.reduceat(mask[first:last], starts, axis=0))

    arrays = reduced(dataset, add, any_, lambda values, safe: add(np.where(safe, values, 0.0)))
    arrays |= _responses(dataset)
    if dataset.geometry.migra_axis is None and "edisp" in arrays:
        rows = arrays["edisp"].astype(np.float64)
        weights = safe_at_responses(dataset)
        arrays["edisp"] = add(rows if weights is None else rows * weights, axis=1)
    axis = MapAxis(old.edges[edges], "energy", old.unit, old.interp)
    return dataset.on_geometry(dataset.geometry.with_axes(axis), name, **arrays)


def safe_at_responses(dataset: CountsDataset) -> NDArray[np.bool_] | None:
    """The safe mask at the pixels of the response grid (energy, ...); False outside the map."""
    mask = dataset.cube("mask_safe")
    if mask is None:
        return None
    y, x = dataset.geometry.irf_centers_in_map()
    ny, nx = mask.shape[1:]
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    found = mask[:, np.where(inside, y, 0), np.where(inside, x, 0)] & inside
    return np.asarray(found.reshape(len(mask), *dataset.geometry.shapes["edisp_exposure"][1:]))


def to_image(dataset: _Dataset, name: str | None = None) -> _Dataset:
    """All energies in one bin, see `resample_energy_axis`."""
    return resample_energy_axis(dataset, dataset.geometry.energy_axis.squash(), name)


# Pixels


def downsample(
    dataset: _Dataset, factor: int, axis_name: str | None = None, name: str | None = None
) -> _Dataset:
    """Larger pixels, or coarser bins of energy.

    Safe pixels are added: counts and background (with its norm and tilt). Exposures and acceptances are
    averaged. The response grid stays as it is. Models are left out.

    Parameters
    ----------
    dataset : CountsDataset
    factor : int
        So many pixels along each side, or bins, become one; their number must be divisible by it.
    axis_name : {"energy"}, optional
        Join bins of energy instead, see `resample_energy_axis`.
    name : str, optional
        Of the result.
    """
    if axis_name == "energy":
        axis = dataset.geometry.energy_axis
        _require_divisible({"energy bins": axis.nbin}, factor, dataset.name)
        coarse = MapAxis(axis.edges[::factor], "energy", axis.unit, axis.interp)
        return resample_energy_axis(dataset, coarse, name)
    geometry = dataset.geometry
    if axis_name is not None or not isinstance(geometry, MapDatasetGeometry):
        raise GeometryError(
            f"no pixels, or axis {axis_name!r}, to join in a {dataset.tag}",
            where=f"dataset {dataset.name}",
            hint="Pixels of maps, and the axis energy, can be joined",
        )
    ny, nx = geometry.geom.shape_image
    _require_divisible({"rows": ny, "columns": nx}, factor, dataset.name)

    def blocks(values: NDArray[Any]) -> NDArray[Any]:
        return values.reshape(len(values), ny // factor, factor, nx // factor, factor)

    def add(values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(blocks(values).sum(axis=(2, 4), dtype=np.result_type(values, np.int64)))

    def any_(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.asarray(blocks(mask).any(axis=(2, 4)))

    arrays = reduced(dataset, add, any_, lambda values, safe: add(values) / factor**2)
    arrays |= _responses(dataset)
    if "exposure" in arrays:
        arrays["exposure"] = add(arrays["exposure"].astype(np.float64)) / factor**2
    x, y = geometry.geom.crpix
    coarse_geom = _changed(
        geometry.geom,
        NAXIS1=nx // factor,
        NAXIS2=ny // factor,
        CRPIX1=(x - 0.5) / factor + 0.5,
        CRPIX2=(y - 0.5) / factor + 0.5,
        CDELT1=geometry.geom.sky.cdelt[0] * factor,
        CDELT2=geometry.geom.sky.cdelt[1] * factor,
    )
    return dataset.on_geometry(_on_map(geometry, coarse_geom), name, **arrays)


def pad(dataset: _Dataset, pad_width: int | tuple[int, int], name: str | None = None) -> _Dataset:
    """More pixels at the rim: without counts, background and acceptances, not safe, with the exposure of the
    nearest pixel. The response grid stays as it is. Models are left out.

    Parameters
    ----------
    dataset : MapDataset or MapDatasetOnOff
    pad_width : int or (int, int)
        Pixels at each side, of columns and rows.
    name : str, optional
        Of the result.
    """
    geometry = dataset.geometry
    columns, rows = (pad_width, pad_width) if isinstance(pad_width, int | np.integer) else pad_width
    if not isinstance(geometry, MapDatasetGeometry) or min(columns, rows) < 0:
        raise GeometryError(
            f"{columns} columns and {rows} rows to add to a {dataset.tag}",
            where=f"dataset {dataset.name}",
            hint="Only maps can be padded, with a number of pixels that is not negative",
        )
    around = ((0, 0), (rows, rows), (columns, columns))
    arrays = _responses(dataset)
    for array in dataset.arrays:
        values = dataset.background_counts() if array == "background" else dataset.array(array)
        if values is not None and array not in ("psf", "psf_exposure", "edisp", "edisp_exposure"):
            arrays[array] = np.pad(values, around, mode="edge" if array == "exposure" else "constant")
    ny, nx = geometry.geom.shape_image
    x, y = geometry.geom.crpix
    padded = _changed(
        geometry.geom, NAXIS1=nx + 2 * columns, NAXIS2=ny + 2 * rows, CRPIX1=x + columns, CRPIX2=y + rows
    )
    return dataset.on_geometry(_on_map(geometry, padded), name, **arrays)


def _require_divisible(numbers: Mapping[str, int], factor: int, name: str) -> None:
    for what, number in numbers.items():
        if factor < 1 or number % factor:
            raise GeometryError(
                f"{number} {what} cannot be joined by {factor}",
                where=f"dataset {name}",
                hint="Pad the dataset first, or choose another factor",
            )


def _changed(geom: WcsGeom, **cards: int | float) -> WcsGeom:
    """The same projection and axes with other cards of the image."""
    return WcsGeom.from_header({**geom.header, **cards}, geom.axes)


def _on_map(geometry: MapDatasetGeometry, geom: WcsGeom) -> MapDatasetGeometry:
    return MapDatasetGeometry(
        geom, geometry.energy_axis_true, geometry.rad_axis, geometry.migra_axis, geometry.geom_irf
    )
