"""The labelled columns of flux points, on the schema, from plain ones with any units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from astropy import units as u
from numpy.typing import NDArray

from gammaflow.data import GTI
from gammaflow.datasets import schema
from gammaflow.datasets.observations import reference_string
from gammaflow.errors import DataError, SchemaError, UnitError

_KIND = "FluxPointsDataset"
_LAYOUT = schema.LAYOUTS[_KIND]
_FLUX = u.Unit("cm-2 s-1 TeV-1")


def labelled_columns(
    name: str,
    energy: Any,
    dnde: Any,
    energy_min: Any,
    energy_max: Any,
    gti: GTI | None,
    meta: Mapping[str, Any] | None,
    columns: Mapping[str, Any],
) -> xr.Dataset:
    """A table of flux points on the schema; parameters and errors as for `FluxPointsDataset.from_arrays`."""
    where = f"dataset {name}"
    unknown = sorted(set(columns) - set(_LAYOUT.variables))
    if unknown:
        raise SchemaError([f"column {n!r} is not part of a {_KIND}" for n in unknown], where=where)
    given = {"dnde": dnde, **{n: c for n, c in columns.items() if c is not None}}
    centers = _values(energy, u.TeV, where)
    if centers.ndim != 1 or not (np.diff(centers) > 0).all() or not (centers > 0).all():
        raise DataError("the energies do not increase", where=where, hint="Sort the points by energy")
    coords = {"energy": centers}
    if energy_min is not None and energy_max is not None:
        coords |= {
            "energy_min": _values(energy_min, u.TeV, where),
            "energy_max": _values(energy_max, u.TeV, where),
        }
    variables: dict[str, Any] = {}
    for column, values in given.items():
        spec = _LAYOUT.variables[column]
        array = _values(values, _FLUX if spec.units else None, where).astype(spec.dtype)
        if column == "norm_scan" and array.ndim == 1:
            array = np.repeat(array[None], len(centers), axis=0)
        if array.ndim != len(spec.dims[0]) or len(array) != len(centers):
            raise SchemaError(
                [f"{column}: shape {array.shape}, there are {len(centers)} energies"], where=where
            )
        variables[column] = _variable(column, array, spec)
    _check_scan(variables, where)
    if gti is not None:
        reference = {"reference_time": reference_string(gti.time_reference)}
        for column, values in (("gti_start", gti.start), ("gti_stop", gti.stop)):
            variables[column] = _variable(column, values, _LAYOUT.variables[column], reference)
    labelled = {n: _variable(n, v, _LAYOUT.coordinates[n]) for n, v in coords.items()}
    attrs = {
        "name": str(name),
        "dataset_type": _KIND,
        "schema_version": schema.SCHEMA_VERSION,
        "meta": dict(meta or {}),
    }
    data = xr.Dataset(variables, coords=xr.Coordinates(labelled), attrs=attrs)
    schema.check(data, where)
    return data


def _check_scan(variables: Mapping[str, xr.Variable], where: str) -> None:
    """SchemaError unless norms and statistics of a scan go together."""
    if "stat_scan" not in variables or "norm_scan" not in variables:
        return  # the schema tells what is missing
    norm, stat = (variables[n].values for n in ("norm_scan", "stat_scan"))
    if norm.shape != stat.shape or norm.shape[1] < 2:
        raise SchemaError([f"norm_scan: shape {norm.shape}, stat_scan: {stat.shape}"], where=where)
    scanned = np.isfinite(norm).all(axis=1)
    if not (np.diff(norm[scanned], axis=1) > 0).all():
        raise SchemaError(["norm_scan: the norms do not increase"], where=where)


def _values(values: Any, unit: u.UnitBase | None, where: str) -> NDArray[Any]:
    """Numbers in a unit; bare ones are in it already."""
    if isinstance(values, u.Quantity) and unit is not None:
        try:
            return np.atleast_1d(np.asarray(values.to_value(unit)))
        except u.UnitConversionError as error:
            raise UnitError(
                f"unit {values.unit} cannot be converted to {unit}",
                where=where,
                hint="Energies are in units like TeV, fluxes in units like cm-2 s-1 TeV-1",
            ) from error
    return np.atleast_1d(np.asarray(values))


def _variable(
    name: str, values: NDArray[Any], spec: schema.Variable, extra: Mapping[str, str] | None = None
) -> xr.Variable:
    attrs = {"long_name": spec.long_name, **({"units": spec.units} if spec.units else {}), **(extra or {})}
    return xr.Variable(spec.dims[0], np.asarray(values, dtype=spec.dtype), attrs)
