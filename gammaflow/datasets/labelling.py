"""Between plain arrays on a geometry and labelled ones on the schema."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from gammaflow.data import GTI
from gammaflow.datasets import schema
from gammaflow.datasets.dataset_geometry import DatasetGeometry
from gammaflow.datasets.geometry import MapDatasetGeometry, geom_from_cards
from gammaflow.datasets.observations import (
    REFERENCE_TIME,
    ObservationRow,
    ObservationTable,
    reference_string,
)
from gammaflow.datasets.spectrum_geometry import SpectrumDatasetGeometry, region_from_attrs
from gammaflow.errors import SchemaError
from gammaflow.maps import MapAxis

#: What is said about variables that all types share.
_COMMON = schema.LAYOUTS["MapDatasetOnOff"]


def labelled(
    kind: str,
    geometry: DatasetGeometry,
    name: str,
    arrays: Mapping[str, ArrayLike],
    gti: GTI | None,
    observations: ObservationTable | ObservationRow | None,
    livetime: float | None,
    meta: Mapping[str, Any] | None,
) -> xr.Dataset:
    """A dataset of counts of a type (``kind``), on the schema, from plain arrays; see `CountsDataset.from_arrays`."""
    variables = array_variables(geometry, arrays, schema.LAYOUTS[kind])
    if isinstance(observations, ObservationRow):
        observations = ObservationTable.from_rows([observations])
    if "exposure" in variables:
        if livetime is None:
            livetime = observations.livetime if observations is not None else np.nan
        variables["exposure"].attrs["livetime"] = float(livetime)
    reference = REFERENCE_TIME if gti is None else reference_string(gti.time_reference)
    times = None if gti is None else (gti.start, gti.stop)
    variables |= time_variables(reference, times, observations)
    attrs = {
        "name": str(name),
        "dataset_type": kind,
        "schema_version": schema.SCHEMA_VERSION,
        "meta": dict(meta or {}),
    }
    return xr.Dataset(variables, coords=coordinates(geometry), attrs=attrs)


def array_variables(
    geometry: DatasetGeometry, arrays: Mapping[str, ArrayLike], layout: schema.Layout
) -> dict[str, xr.Variable]:
    """The variables of a dataset, in the number types of the schema.

    Raises
    ------
    SchemaError
        Naming every array of another shape, or of a kind of numbers that would be cut, as fractions of
        counts.
    """
    issues, out = [], {}
    for name, values in arrays.items():
        spec = layout.variables[name]
        array = np.asarray(values)
        if not np.can_cast(array.dtype, spec.dtype, "same_kind"):
            issues.append(f"{name}: number type {array.dtype}, should be {spec.dtype}")
            continue
        array = array.astype(spec.dtype, copy=False)
        if array.shape != geometry.shapes[name]:
            issues.append(f"{name}: shape {array.shape}, the geometry says {geometry.shapes[name]}")
            continue
        dims = spec.dims[0] if name != "edisp" or geometry.migra_axis is None else spec.dims[1]
        out[name] = xr.Variable(dims, array, _attrs(name, layout), fastpath=True)
    if issues:
        raise SchemaError(issues, hint=f"The shapes are those of {type(geometry).__name__}.shapes")
    return out


def _attrs(name: str, layout: schema.Layout = _COMMON) -> dict[str, Any]:
    spec = layout.variables.get(name) or layout.coordinates[name]
    attrs = {"long_name": spec.long_name}
    if spec.units:
        attrs["units"] = spec.units
    if "y" in spec.dims[0]:
        attrs["grid_mapping"] = "wcs"
    elif "y_irf" in spec.dims[0]:
        attrs["grid_mapping"] = "wcs_irf"
    return attrs


def time_variables(
    reference: str,
    gti: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    observations: ObservationTable | None,
) -> dict[str, xr.Variable]:
    """The variables of good time intervals and observation rows, all counted from ``reference``."""
    out = {}
    if gti is not None:
        for name, values in zip(("gti_start", "gti_stop"), gti, strict=True):
            attrs = {**_attrs(name), "reference_time": reference}
            out[name] = xr.Variable(("gti",), np.asarray(values, dtype=np.float64), attrs, fastpath=True)
    if observations is not None:
        for name, column in observations.columns.items():
            attrs = _attrs(name)
            if name in schema.TIMED:
                attrs["reference_time"] = reference
            out[name] = xr.Variable(("observation",), column, attrs, fastpath=True)
    return out


def coordinates(geometry: DatasetGeometry) -> xr.Coordinates:
    """Axes and pixels of a geometry."""
    # Axes compare equal within a tolerance; what is written must be these very edges.
    described = tuple(
        (a.name, a.interp, a.edges.tobytes(), a.center.tobytes())
        for _, a in geometry.named_axes()
        if a is not None
    )
    return _axis_coordinates(described).assign(projections(geometry))


@lru_cache(maxsize=32)
def _axis_coordinates(axes: tuple[tuple[str, str, bytes, bytes], ...]) -> xr.Coordinates:
    variables = {}
    for name, interp, edges_bytes, center in axes:
        edges = np.frombuffer(edges_bytes)
        for suffix, values in (("", np.frombuffer(center)), ("_min", edges[:-1]), ("_max", edges[1:])):
            attrs = _attrs(name + suffix)
            if not suffix:
                attrs["interp"] = interp
            variables[name + suffix] = xr.Variable((name,), np.ascontiguousarray(values), attrs)
    return xr.Coordinates(variables)


def projections(geometry: DatasetGeometry) -> dict[str, xr.Variable]:
    """The scalar variables that say where the pixels are: ``wcs`` and ``wcs_irf``, FITS cards or a region in
    their attributes.
    """
    layout = schema.LAYOUTS["SpectrumDataset"] if isinstance(geometry, SpectrumDatasetGeometry) else _COMMON
    return {
        name: xr.Variable((), np.int32(0), {**_attrs(name, layout), **attrs})
        for name, attrs in geometry.grids.items()
    }


def geometry_from_xarray(data: xr.Dataset) -> MapDatasetGeometry | SpectrumDatasetGeometry:
    """The geometry that the coordinates of a dataset describe, without a link to a parent."""
    axes = {n: _axis(data, n) for n in ("energy", "energy_true", "rad", "migra") if n in data.variables}
    energy, true, migra = axes["energy"], axes["energy_true"], axes.get("migra")
    if "wcs_irf" not in data.variables:
        return SpectrumDatasetGeometry(region_from_attrs(data.variables["wcs"].attrs, (energy,)), true, migra)
    cards = {n: {k: v for k, v in data.variables[n].attrs.items() if k.isupper()} for n in ("wcs", "wcs_irf")}
    return MapDatasetGeometry(
        geom_from_cards(cards["wcs"], (energy,)), true, axes["rad"], migra, geom_from_cards(cards["wcs_irf"])
    )


def geometry_from_dict(data: dict[str, Any]) -> MapDatasetGeometry | SpectrumDatasetGeometry:
    """The geometry that the method ``to_dict`` of one described."""
    kind = SpectrumDatasetGeometry if "region" in data else MapDatasetGeometry
    return kind.from_dict(data)


def _axis(data: xr.Dataset, name: str) -> MapAxis:
    edges = np.append(data.variables[f"{name}_min"].values, data.variables[f"{name}_max"].values[-1])
    attrs = data.variables[name].attrs
    return MapAxis(edges, name, unit=attrs.get("units", ""), interp=attrs.get("interp", "lin"))


def spread_mask(mask: ArrayLike, shape: tuple[int, ...], where: str) -> NDArray[Any]:
    """A mask of all bins from one of all bins, of pixels, or of energies (the first dimension).

    Raises
    ------
    SchemaError
        When it is none of them.
    """
    given = np.asarray(mask)
    if given.shape == shape[:1]:
        given = given.reshape(-1, *(1,) * (len(shape) - 1))
    try:
        return np.broadcast_to(given, shape).copy()
    except ValueError as error:
        raise SchemaError(
            [f"a mask of shape {given.shape}, should be {shape}, or that of its pixels or energies"],
            where=where,
        ) from error
