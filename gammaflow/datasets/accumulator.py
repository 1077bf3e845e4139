"""Adding datasets and partial sums in place: the arithmetic of `gammaflow.datasets.stacking`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.datasets.box import Box, on_irf_grid
from gammaflow.datasets.counts_dataset import CountsDataset
from gammaflow.datasets.dataset_geometry import DatasetGeometry
from gammaflow.datasets.observations import REFERENCE_TIME, ObservationTable, seconds_between
from gammaflow.datasets.partial import SUMS, Partial
from gammaflow.errors import StackingError

#: What in ``meta`` says whose data they are: those of different instruments cannot be stacked.
_INSTRUMENT = ("telescope", "instrument")


class Accumulator:
    """Adds datasets and partials into arrays of its own; what `lift`, `combine` and `stack` are made of.

    Parameters
    ----------
    parent : DatasetGeometry
        The whole geometry.
    box : Box, optional
        The part to reserve. What lies outside is made room for, at the price of a copy.
    """

    def __init__(self, parent: DatasetGeometry, box: Box | None = None) -> None:
        self.parent = parent
        self._reserved = box or Box.nowhere()  # the pixels that the arrays have
        self._used = Box.nowhere()  # those that something was added to
        self._sums: dict[str, NDArray[Any]] | None = None
        self._gti: list[NDArray[np.float64]] = []
        self._rows: list[ObservationTable] = []
        self._meta: dict[str, Any] | None = None
        self._type: str | None = None  # of the datasets

    def add(self, dataset: CountsDataset, *, apply_mask: bool = True) -> None:
        """Add one dataset; with ``apply_mask`` False as if all its bins were safe."""
        where = f"dataset {dataset.name}"
        self._require_type(dataset.tag, where)
        box = dataset.geometry.box_in(self.parent)
        mask = dataset.cube("mask_safe")
        if mask is None:
            raise StackingError(
                "it has no mask_safe", where=where, hint="Run the safe mask maker on it first"
            )
        selected = mask if apply_mask else np.broadcast_to(np.True_, mask.shape)
        weights = self._weights(selected, box)
        part = _bounding_box(selected, weights)
        shift = seconds_between(REFERENCE_TIME, dataset.time_reference)
        rows = dataset.observations.shifted(shift)
        if part is None:
            if not _lacks_off(dataset):
                self._make_room(Box.nowhere(), tuple(dataset.addends()), where)
            self._rows.append(rows.replace(used=np.zeros(len(rows), dtype=bool)))
            return
        if _lacks_off(dataset):
            raise StackingError(
                "it has safe bins, but no OFF counts", where=where, hint="Leave it out, or mask all of it"
            )
        arrays = dataset.addends()
        inner = self._make_room(part.moved(box), tuple(arrays), where)
        self._rows.append(_with_norms(rows, dataset))
        self._meta = _agreed(self._meta, dataset.meta or None, where)
        start, stop = dataset.array("gti_start"), dataset.array("gti_stop")
        if start is not None and stop is not None:
            self._gti.append(np.stack([start, stop], axis=1) + shift)
        own = {q: a[part.of(q)] for q, a in arrays.items()}
        total = self._part(inner)
        scale = None if dataset.background_model is None else dataset.background_factor()
        safe = _SafePlanes(selected[part.of("mask_safe")])
        total["mask_safe"] |= own["mask_safe"]
        for quantity in ("counts", "counts_off", "acceptance", "background"):
            if quantity in own:
                factor = scale if quantity == "background" else None
                dtype = str(own[quantity].dtype) if factor is None else "float64"
                _add_safe(total[quantity], own[quantity], safe.factors(dtype), f"{where}, {quantity}", factor)
        if "exposure" in own:
            factors = [safe.any_factor("float32")] * len(own["exposure"])
            _add_safe(total["exposure"], own["exposure"], factors, f"{where}, exposure")
        weights = weights[part.of("psf")]
        for irf in ("psf", "edisp"):
            if irf in own:
                by_energy = irf == "edisp" and self.parent.migra_axis is None
                names = (irf, f"{irf}_exposure")
                sums, values = ((arrays[names[0]], arrays[names[1]]) for arrays in (total, own))
                _add_response(sums, values, weights, by_energy, f"{where}, {irf}")

    def add_partial(self, partial: Partial) -> None:
        """Add the sums of a partial."""
        whole = partial.parent.box_in(self.parent)
        if whole != self.parent.whole_box:
            raise StackingError(
                f"one belongs to a geometry of {partial.parent.cube_shapes['counts'][1:]} pixels, the other to "
                f"one of {self.parent.cube_shapes['counts'][1:]}",
                where="partial sums", hint="Lift all datasets to the same whole geometry",
            )  # fmt: skip
        if partial.dataset_type:
            self._require_type(partial.dataset_type, "partial sums")
        self._rows.append(partial.observations)
        if partial.gti.size:
            self._gti.append(partial.gti)
        self._meta = _agreed(self._meta, partial.meta, "partial sums")
        if partial.box is None:
            return
        inner = self._make_room(partial.box, tuple(partial.sums), "partial sums")
        if partial.box.is_empty:
            return
        for name, target in self._part(inner).items():
            add = np.logical_or if name == "mask_safe" else np.add
            add(target, partial.sums[name], out=target)

    def partial(self) -> Partial:
        """The sums so far. They are handed over, not copied: add nothing afterwards."""
        sums, box = self._sums, self._used
        if sums is not None and box != self._reserved:
            sums = self._part(box if box.is_empty else box.slices_in(self._reserved))
        gti = np.concatenate(self._gti) if self._gti else np.zeros((0, 2))
        rows = ObservationTable.concatenate(self._rows)
        box_used = None if sums is None else box
        return Partial(self.parent, box_used, sums or {}, gti, rows, self._meta, self._type or "")

    def _require_type(self, kind: str, where: str) -> None:
        """All that is added must be of one type."""
        if self._type is not None and self._type != kind:
            raise StackingError(
                f"it is a {kind}, the others are {self._type}",
                where=where,
                hint="Convert them first, e.g. with to_map_dataset or to_spectrum_dataset",
            )
        self._type = kind

    def _make_room(self, box: Box, quantities: Collection[str], where: str) -> Box:
        """Have arrays that hold ``box``; returns it counted from their first pixels."""
        if self._sums is None:
            self._reserved = Box.union([self._reserved, box])
            self._sums = self._zeros(quantities)
        missing, extra = set(self._sums) - set(quantities), set(quantities) - set(self._sums)
        if missing or extra:
            found = [f"has no {', '.join(sorted(missing))}"] * bool(missing)
            found += [f"has {', '.join(sorted(extra))}, which the others lack"] * bool(extra)
            raise StackingError(
                f"it {' and '.join(found)}",
                where=where,
                hint="Only datasets made with the same map selection can be stacked",
            )
        self._used = Box.union([self._used, box])
        wanted = Box.union([self._reserved, box])
        if wanted != self._reserved:
            former, sums = self._reserved, self._sums
            # Every copy costs as much as an observation: when it comes near the whole, take the whole.
            whole = self.parent.whole_box
            self._reserved = wanted if 2 * wanted.n_pixels < whole.n_pixels else whole
            self._sums = self._zeros(sums)
            if not former.is_empty:
                place = former.slices_in(self._reserved)
                for name, values in sums.items():
                    self._sums[name][place.of(name)] = values
        return box.slices_in(self._reserved)

    def _part(self, box: Box) -> dict[str, NDArray[Any]]:
        return {name: values[box.of(name)] for name, values in (self._sums or {}).items()}

    def _zeros(self, quantities: Collection[str]) -> dict[str, NDArray[Any]]:
        """Sums of nothing on the reserved pixels."""
        ends = {False: self._reserved.shape_image, True: self._reserved.shape_irf}
        shapes = self.parent.cube_shapes
        return {q: np.zeros((*shapes[q][:-2], *ends[on_irf_grid(q)]), dtype=SUMS[q]) for q in quantities}

    def _weights(self, mask: NDArray[np.bool_], box: Box) -> NDArray[np.bool_]:
        """The mask at the centres of response pixels (energy, y_irf, x_irf); False outside the map."""
        centers_y, centers_x = self.parent.irf_centers_in_map()
        y, x = centers_y[box.irf] - box.y[0], centers_x[box.irf] - box.x[0]
        ny, nx = mask.shape[1:]
        inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
        flat = np.where(inside, y * nx + x, 0)
        return mask.reshape(len(mask), -1)[:, flat] & inside


def _lacks_off(dataset: CountsDataset) -> bool:
    """Whether it is to have OFF counts and has none, as an observation for which no OFF region was found."""
    return dataset.stat_type == "wstat" and dataset.background is None


def _bounding_box(mask: NDArray[np.bool_], weights: NDArray[np.bool_]) -> Box | None:
    """The smallest box of a dataset's pixels that holds all that is safe; None when nothing is."""
    if not mask.any():
        return None
    image, irf = (_bounds(np.asarray(m.any(axis=0))) for m in (mask, weights))
    return Box(*image, *irf)


def _bounds(mask: NDArray[np.bool_]) -> tuple[tuple[int, int], tuple[int, int]]:
    sides = []
    for axis in (1, 0):
        index = np.flatnonzero(mask.any(axis=axis))
        # A safe region between the centres of response pixels weighs nothing, but a box needs a pixel.
        sides.append((int(index[0]), int(index[-1]) + 1) if index.size else (0, 1))
    return sides[0], sides[1]


class _SafePlanes:
    """The safe mask by energy, as factors: numbers of one type multiply several times faster than masks."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self._mask = mask
        self._any = mask.any(axis=0)

    def any_factor(self, dtype: str) -> NDArray[Any]:
        """Ones where any energy is safe and zeros elsewhere."""
        return self._any.astype(dtype)

    def factors(self, dtype: str) -> list[NDArray[Any] | None]:
        """For each energy ones where it is safe and zeros elsewhere; None where all is zero."""
        common = self.any_factor(dtype)
        return [
            common if np.array_equal(plane, self._any) else plane.astype(dtype) if plane.any() else None
            for plane in self._mask
        ]


def _add_safe(
    total: NDArray[Any],
    values: NDArray[Any],
    factors: Sequence[NDArray[Any] | None],
    where: str,
    scale: NDArray[np.float64] | None = None,
) -> None:
    """Add the safe part of a map, energy by energy so that what is in between stays in the cache."""
    for k, factor in enumerate(factors):
        if factor is None:
            continue
        plane = values[k] if scale is None else values[k] * scale[k]
        product = plane * factor
        if product.dtype.kind == "f" and not np.isfinite(product.sum(dtype=np.float64)):
            # Most often outside the safe range, where it does not count.
            product = np.where(factor > 0, plane, 0)
            _require_finite(product, where)
        np.add(total[k], product, out=total[k])


def _add_response(
    sums: tuple[NDArray[np.float64], NDArray[np.float64]],
    values: tuple[NDArray[Any], NDArray[Any]],
    mask: NDArray[np.bool_],
    by_energy: bool,
    where: str,
) -> None:
    """Add a response times its weight, and the weight itself, one true energy after the other."""
    (numerator, weight), (response, exposure) = sums, values
    any_energy = mask.any(axis=0)
    rows = mask.astype(np.float64) if by_energy else None
    for k in range(len(numerator)):
        epsilon = np.where(any_energy, exposure[k].astype(np.float64), 0.0)
        _require_finite(epsilon, f"{where}_exposure")
        weight[k] += epsilon
        product = response[k] * epsilon
        if not np.isfinite(product.sum()):
            product = np.where(any_energy, response[k], 0.0) * epsilon
            _require_finite(product, where)
        if rows is not None:
            product *= rows
        np.add(numerator[k], product, out=numerator[k])


def _require_finite(values: NDArray[Any], where: str) -> None:
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise StackingError(
            f"{bad} values that are not finite in safe bins",
            where=where,
            hint="Look at the responses of this observation; its safe mask must leave such bins out",
        )


def _agreed(meta: dict[str, Any] | None, other: dict[str, Any] | None, where: str) -> dict[str, Any] | None:
    """What both say; None says nothing and is not asked. Of the instrument, what either says.

    Raises
    ------
    StackingError
        When they are of different instruments.
    """
    if meta is None or other is None:
        return other if meta is None else meta
    instrument: dict[str, Any] = {}
    for key in _INSTRUMENT:
        said = [m[key] for m in (meta, other) if key in m]
        if len(said) == 2 and said[0] != said[1]:
            raise StackingError(
                f"its {key} is {said[1]!r}, that of the others {said[0]!r}",
                where=where,
                hint="Stack the data of each instrument by themselves, and fit the stacks jointly",
            )
        instrument |= {key: said[0]} if said else {}
    return {k: v for k, v in meta.items() if k in other and other[k] == v} | instrument


def _with_norms(rows: ObservationTable, dataset: CountsDataset) -> ObservationTable:
    """Rows with norm and tilt as they are now applied to the background, where they have none yet."""
    if dataset.background_model is None:
        return rows
    found = {p.name: p.value for p in dataset.background_model.parameters if p.name in ("norm", "tilt")}
    columns = {f"background_{name}": value for name, value in found.items()}
    return rows.replace(**{n: np.where(np.isnan(rows[n]), value, rows[n]) for n, value in columns.items()})
