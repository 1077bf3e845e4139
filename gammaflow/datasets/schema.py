"""The schema of a dataset: its layout, and whether an `xarray.Dataset` follows it.

`check` holds one against the layouts of `gammaflow.datasets.layouts`, and reports everything that is wrong at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from gammaflow.datasets.layouts import (
    LAYOUTS,
    OBSERVATION_COLUMNS,
    REQUIRED_ATTRS,
    SCHEMA_VERSION,
    TIMED,
    WCS_CARDS,
    Layout,
    Variable,
)
from gammaflow.errors import SchemaError

__all__ = [
    "LAYOUTS",
    "OBSERVATION_COLUMNS",
    "REQUIRED_ATTRS",
    "SCHEMA_VERSION",
    "TIMED",
    "WCS_CARDS",
    "Layout",
    "Variable",
    "check",
    "version_issue",
]


def check(data: xr.Dataset, where: str = "", *, values: bool = False) -> None:
    """Hold a dataset against the schema.

    Parameters
    ----------
    data : xarray.Dataset
        What to check.
    where : str
        Named in the error, e.g. the path of the file.
    values : bool
        Look into the maps as well: counts and exposures that are negative, values that are not finite in
        safe bins. Reads every array once.

    Raises
    ------
    SchemaError
        Listing every departure; its ``issues`` hold them one by one.
    """
    issues = list(_issues(data, values))
    if issues:
        raise SchemaError(issues, where=where, hint="The layout is in gammaflow.datasets.layouts")


def version_issue(version: object) -> str:
    """What is said about a dataset of another version of the schema."""
    return f"schema version {version!r} is not {SCHEMA_VERSION}, which this version of gammaflow knows"


def _issues(data: xr.Dataset, values: bool) -> Iterator[str]:
    for name in REQUIRED_ATTRS:
        if name not in data.attrs:
            yield f"attribute {name!r} is missing"
    version = data.attrs.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        yield version_issue(version)
    kind = str(data.attrs.get("dataset_type", ""))
    if kind not in LAYOUTS:
        if kind:
            yield f"dataset type {kind!r} is not one of {', '.join(LAYOUTS)}"
        return
    layout = LAYOUTS[kind]
    for variable in map(str, data.variables):
        if variable in layout.variables or variable in layout.coordinates:
            yield from _variable_issues(data, variable, layout)
        else:
            yield f"variable {variable!r} is not part of a {kind}"
    for name in layout.required:
        if name not in data.variables:
            yield f"variable {name!r} is missing"
    for name in layout.required_coordinates:
        if name not in data.variables:
            yield f"coordinate {name!r} is missing"
    for axis in ("energy", "energy_true", "rad", "migra"):
        yield from _axis_issues(data, axis, layout.gaps)
    for scalar, y, x in layout.wcs:
        yield from _wcs_issues(data, scalar, y, x)
    region = layout.region
    if region is not None and region in data.variables and "region" not in data.variables[region].attrs:
        yield f"{region}: attribute 'region' is missing"
    yield from _row_issues(data, layout)
    if values:
        yield from _value_issues(data)


def _variable_issues(data: xr.Dataset, name: str, layout: Layout) -> Iterator[str]:
    variable = data.variables[name]
    is_coordinate = name in layout.coordinates
    spec = layout.coordinates[name] if is_coordinate else layout.variables[name]
    if is_coordinate != (name in data.coords):
        yield f"{name}: should {'' if is_coordinate else 'not '}be a coordinate"
    if variable.dims not in spec.dims:
        allowed = " or ".join(str(dims) for dims in spec.dims)
        yield f"{name}: dimensions {variable.dims}, should be {allowed}"
    if variable.dtype != np.dtype(spec.dtype):
        yield f"{name}: number type {variable.dtype}, should be {spec.dtype}"
    units = variable.attrs.get("units", "")
    if units != spec.units:
        yield f"{name}: units {units!r}, should be {spec.units!r}"
    for other in spec.needs:
        if other not in data.variables:
            yield f"{name}: needs {other!r}, which is missing"
    if name in TIMED and "reference_time" not in variable.attrs:
        yield f"{name}: attribute 'reference_time' is missing"


def _axis_issues(data: xr.Dataset, axis: str, gaps: bool) -> Iterator[str]:
    names = (axis, f"{axis}_min", f"{axis}_max")
    if axis not in data.variables:
        if axis in data.dims:
            yield f"coordinate {axis!r} is missing"
        return
    if any(n not in data.variables or data.variables[n].dims != (axis,) for n in names):
        return  # told already, or a flux point table, which may have no bins
    center, low, high = (np.asarray(data.variables[n].values) for n in names)
    if center.size == 0:
        yield f"{axis}: has no bins"
        return
    if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high)) and np.all(low < high)):
        yield f"{axis}: a bin has no width"
    elif not gaps and not np.array_equal(low[1:], high[:-1]):
        first = int(np.argmax(low[1:] != high[:-1]))
        yield f"{axis}: bin {first} ends at {high[first]!r}, bin {first + 1} starts at {low[first + 1]!r}"
    elif not np.all((low <= center) & (center <= high)):
        yield f"{axis}: a centre lies outside its bin"


def _wcs_issues(data: xr.Dataset, scalar: str, y: str, x: str) -> Iterator[str]:
    if scalar not in data.variables:
        return
    cards = data.variables[scalar].attrs
    for card in WCS_CARDS:
        if card not in cards:
            yield f"{scalar}: FITS card {card} is missing"
    for card, dim in (("NAXIS1", x), ("NAXIS2", y)):
        if card in cards and dim in data.sizes and cards[card] != data.sizes[dim]:
            yield f"{scalar}: {card} is {cards[card]}, dimension {dim} has {data.sizes[dim]}"


def _row_issues(data: xr.Dataset, layout: Layout) -> Iterator[str]:
    if "observation" in data.dims and "obs_id" in layout.variables:
        for name in OBSERVATION_COLUMNS:
            if name not in data.variables:
                yield f"observation column {name!r} is missing"
    if {"gti_start", "gti_stop"} <= set(data.variables):
        start, stop = data.variables["gti_start"], data.variables["gti_stop"]
        if start.dims == stop.dims and not np.all(start.values <= stop.values):
            yield f"gti: interval {int(np.argmax(~(start.values <= stop.values)))} ends before it starts"
    references = {
        data.variables[n].attrs["reference_time"]
        for n in TIMED
        if n in data.variables and "reference_time" in data.variables[n].attrs
    }
    if len(references) > 1:
        yield f"times are counted from different reference times: {', '.join(sorted(map(str, references)))}"


def _value_issues(data: xr.Dataset) -> Iterator[str]:
    for name in ("counts", "counts_off", "exposure", "psf_exposure", "edisp_exposure"):
        if name in data.variables:
            array = data.variables[name].values
            bad = int(np.count_nonzero(~(array >= 0)))
            if bad:
                yield f"{name}: {bad} values are negative or not a number"
    safe = data.variables["mask_safe"].values if "mask_safe" in data.variables else None
    for name in ("background", "acceptance", "acceptance_off", "psf", "edisp"):
        if name in data.variables:
            finite = np.isfinite(data.variables[name].values)
            if name not in ("psf", "edisp") and safe is not None and safe.shape == finite.shape:
                finite = finite | ~safe
            bad = int(np.count_nonzero(~finite))
            if bad:
                yield f"{name}: {bad} values are not finite"
