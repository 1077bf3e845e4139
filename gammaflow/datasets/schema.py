"""The layout of a dataset, written once: variables, dimensions, number types and units of every kind.

`check` holds an `xarray.Dataset` against it and reports everything that is wrong at once. Reading, writing,
documentation and tests all take their knowledge of the layout from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from gammaflow.errors import SchemaError

#: Raised by one when a reader of the former layout could misread the new one.
SCHEMA_VERSION = 1

#: Attributes that every dataset has.
REQUIRED_ATTRS = ("name", "dataset_type", "schema_version")

#: FITS cards without which a pixel has no place on the sky.
WCS_CARDS = (
    "NAXIS1",
    "NAXIS2",
    "CTYPE1",
    "CTYPE2",
    "CRPIX1",
    "CRPIX2",
    "CRVAL1",
    "CRVAL2",
    "CDELT1",
    "CDELT2",
)


@dataclass(frozen=True)
class Variable:
    """What the schema says about one variable.

    Attributes
    ----------
    dims : tuple of tuple of str
        The layouts allowed, by the names of their dimensions.
    dtype : str
        The number type at rest and in memory.
    units : str
        As FITS and astropy write them; empty for pure numbers.
    long_name : str
        What it is, for a stranger who opens the file.
    needs : tuple of str
        Variables that must be there when this one is.
    """

    dims: tuple[tuple[str, ...], ...]
    dtype: str
    units: str = ""
    long_name: str = ""
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """The schema of one type of dataset: which variables it may have, and which it must have."""

    variables: Mapping[str, Variable]
    required: tuple[str, ...] = ()
    coordinates: Mapping[str, Variable] = field(default_factory=dict)
    required_coordinates: tuple[str, ...] = ()
    wcs: tuple[tuple[str, str, str], ...] = ()  # (scalar variable, its dimension y, its dimension x)
    region: str | None = None  # scalar variable that carries the region of a spectrum

    def __iter__(self) -> Iterator[str]:
        yield from self.variables
        yield from self.coordinates


def _maps(
    *dims: tuple[str, ...],
    dtype: str = "float32",
    units: str = "",
    name: str = "",
    needs: tuple[str, ...] = (),
) -> Variable:
    return Variable(dims, dtype, units, name, needs)


_RECO = ("energy", "y", "x")
_TRUE = ("energy_true", "y", "x")
_TRUE_IRF = ("energy_true", "y_irf", "x_irf")

_MAP_VARIABLES = {
    "counts": _maps(_RECO, dtype="int32", name="observed counts"),
    "background": _maps(_RECO, name="background model before its norm is applied"),
    "mask_safe": _maps(_RECO, dtype="bool", name="safe data range"),
    "mask_fit": _maps(_RECO, dtype="bool", name="bins chosen for the fit"),
    "exposure": _maps(_TRUE, units="m2 s", name="effective area times livetime"),
    "psf": _maps(
        ("energy_true", "rad", "y_irf", "x_irf"),
        units="sr-1",
        name="point spread function",
        needs=("psf_exposure",),
    ),
    "psf_exposure": _maps(_TRUE_IRF, units="m2 s", name="weight of the point spread function"),
    "edisp": _maps(
        ("energy_true", "energy", "y_irf", "x_irf"),
        ("energy_true", "migra", "y_irf", "x_irf"),
        name="energy dispersion: probability of an energy bin, or density in migra",
        needs=("edisp_exposure",),
    ),
    "edisp_exposure": _maps(_TRUE_IRF, units="m2 s", name="weight of the energy dispersion"),
}

_ON_OFF_VARIABLES = {
    "counts_off": _maps(
        _RECO, dtype="int32", name="counts of the off region", needs=("acceptance", "acceptance_off")
    ),
    "acceptance": _maps(_RECO, name="relative exposure to background, on region"),
    "acceptance_off": _maps(_RECO, name="relative exposure to background, off region"),
}

#: Columns that every row of observations has. ``used`` is False for an observation that went into a stack
#: without one safe bin: it is listed, and adds nothing.
OBSERVATION_COLUMNS = {
    "obs_id": Variable((("observation",),), "int64", "", "observation identifier"),
    "tstart": Variable((("observation",),), "float64", "s", "start, after the reference time"),
    "tstop": Variable((("observation",),), "float64", "s", "end, after the reference time"),
    "ontime": Variable((("observation",),), "float64", "s", "length of the good time intervals"),
    "livetime": Variable((("observation",),), "float64", "s", "ontime less dead time"),
    "ra_pnt": Variable((("observation",),), "float64", "deg", "pointing, right ascension (ICRS)"),
    "dec_pnt": Variable((("observation",),), "float64", "deg", "pointing, declination (ICRS)"),
    "zenith": Variable(
        (("observation",),), "float64", "deg", "zenith angle of the pointing; NaN if not known"
    ),
    "azimuth": Variable((("observation",),), "float64", "deg", "azimuth of the pointing; NaN if not known"),
    "background_norm": Variable(
        (("observation",),), "float64", "", "factor fitted to the background; NaN if none"
    ),
    "background_tilt": Variable(
        (("observation",),), "float64", "", "tilt fitted to the background; NaN if none"
    ),
    "used": Variable((("observation",),), "bool", "", "has safe bins in this dataset"),
}

_GTI_VARIABLES = {
    "gti_start": Variable(
        (("gti",),), "float64", "s", "good time: start, after the reference time", ("gti_stop",)
    ),
    "gti_stop": Variable(
        (("gti",),), "float64", "s", "good time: end, after the reference time", ("gti_start",)
    ),
}

#: Variables counted from a reference time, which stands in their attribute ``reference_time`` (ISO, TT).
TIMED = ("gti_start", "gti_stop", "tstart", "tstop")


def _axis_coordinates(name: str, units: str, long_name: str) -> dict[str, Variable]:
    return {
        name: Variable(((name,),), "float64", units, f"{long_name}, bin centre"),
        f"{name}_min": Variable(((name,),), "float64", units, f"{long_name}, lower edge"),
        f"{name}_max": Variable(((name,),), "float64", units, f"{long_name}, upper edge"),
    }


_ENERGY = _axis_coordinates("energy", "TeV", "reconstructed energy")
_ENERGY_TRUE = _axis_coordinates("energy_true", "TeV", "true energy")
_RAD = _axis_coordinates("rad", "deg", "angle from the source")
_MIGRA = _axis_coordinates("migra", "", "reconstructed over true energy")
_WCS = {
    "wcs": Variable(((),), "int32", "", "projection of the map, as FITS cards in the attributes"),
    "wcs_irf": Variable(
        ((),), "int32", "", "projection of the response grid, as FITS cards in the attributes"
    ),
}
_REGION = {"wcs": Variable(((),), "int32", "", "the region, as a DS9 string in the attribute 'region'")}


def _without_sky(variables: Mapping[str, Variable]) -> dict[str, Variable]:
    """The same variables of a spectrum, which has no place on the sky but its region."""
    sky = {"y", "x", "y_irf", "x_irf"}
    return {
        name: Variable(
            tuple(tuple(d for d in dims if d not in sky) for dims in v.dims),
            v.dtype,
            v.units,
            v.long_name,
            v.needs,
        )
        for name, v in variables.items()
        if not name.startswith("psf")
    }


_ROWS = {**_GTI_VARIABLES, **OBSERVATION_COLUMNS}
_FLUX_UNITS = "cm-2 s-1 TeV-1"

LAYOUTS: Mapping[str, Layout] = {
    "MapDataset": Layout(
        {**_MAP_VARIABLES, **_ROWS},
        coordinates={**_ENERGY, **_ENERGY_TRUE, **_RAD, **_MIGRA, **_WCS},
        required_coordinates=(*_ENERGY, *_ENERGY_TRUE, *_RAD, *_WCS),
        wcs=(("wcs", "y", "x"), ("wcs_irf", "y_irf", "x_irf")),
    ),
    "MapDatasetOnOff": Layout(
        {**{k: v for k, v in _MAP_VARIABLES.items() if k != "background"}, **_ON_OFF_VARIABLES, **_ROWS},
        coordinates={**_ENERGY, **_ENERGY_TRUE, **_RAD, **_MIGRA, **_WCS},
        required_coordinates=(*_ENERGY, *_ENERGY_TRUE, *_RAD, *_WCS),
        wcs=(("wcs", "y", "x"), ("wcs_irf", "y_irf", "x_irf")),
    ),
    "SpectrumDataset": Layout(
        {**_without_sky(_MAP_VARIABLES), **_ROWS},
        coordinates={**_ENERGY, **_ENERGY_TRUE, **_MIGRA, **_REGION},
        required_coordinates=(*_ENERGY, *_ENERGY_TRUE, *_REGION),
        region="wcs",
    ),
    "SpectrumDatasetOnOff": Layout(
        {
            **_without_sky({k: v for k, v in _MAP_VARIABLES.items() if k != "background"}),
            **_without_sky(_ON_OFF_VARIABLES),
            **_ROWS,
        },
        coordinates={**_ENERGY, **_ENERGY_TRUE, **_MIGRA, **_REGION},
        required_coordinates=(*_ENERGY, *_ENERGY_TRUE, *_REGION),
        region="wcs",
    ),
    "FluxPointsDataset": Layout(
        {
            "dnde": Variable((("energy",),), "float64", _FLUX_UNITS, "differential flux at the energy"),
            "dnde_err": Variable((("energy",),), "float64", _FLUX_UNITS, "symmetric error", ("dnde",)),
            "dnde_errn": Variable(
                (("energy",),), "float64", _FLUX_UNITS, "error downwards, positive", ("dnde",)
            ),
            "dnde_errp": Variable((("energy",),), "float64", _FLUX_UNITS, "error upwards", ("dnde",)),
            "dnde_ul": Variable((("energy",),), "float64", _FLUX_UNITS, "upper limit", ("dnde",)),
            "is_ul": Variable((("energy",),), "bool", "", "the point is an upper limit", ("dnde_ul",)),
            "sqrt_ts": Variable((("energy",),), "float64", "", "significance of the point"),
            "stat_scan": Variable((("energy", "norm"),), "float64", "", "profile of the fit statistic"),
            "mask_safe": Variable((("energy",),), "bool", "", "points that can be used"),
            "mask_fit": Variable((("energy",),), "bool", "", "points chosen for the fit"),
            **_GTI_VARIABLES,
        },
        required=("dnde",),
        coordinates={**_ENERGY, "norm": Variable((("norm",),), "float64", "", "factor on dnde in stat_scan")},
        required_coordinates=("energy",),
    ),
}


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
        raise SchemaError(issues, where=where, hint="The layout is in gammaflow.datasets.schema")


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
        yield from _axis_issues(data, axis)
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


def _axis_issues(data: xr.Dataset, axis: str) -> Iterator[str]:
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
    elif not np.array_equal(low[1:], high[:-1]):
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
