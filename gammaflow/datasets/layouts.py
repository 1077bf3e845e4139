"""The layout of a dataset, written once: variables, dimensions, number types and units of every kind.

Reading, writing, documentation and tests all take their knowledge of the layout from here, by the name of
`gammaflow.datasets.schema`, which also holds datasets against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

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
    gaps: bool = False  # whether there may be gaps between bins of energy

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
            "dnde_ref": Variable(
                (("energy",),), "float64", _FLUX_UNITS, "differential flux that norm 1 stands for"
            ),
            "norm_scan": Variable(
                (("energy", "scan"),),
                "float64",
                "",
                "factors on dnde_ref of a scan",
                ("dnde_ref", "stat_scan"),
            ),
            "stat_scan": Variable(
                (("energy", "scan"),), "float64", "", "fit statistic at norm_scan", ("dnde_ref", "norm_scan")
            ),
            "stat": Variable((("energy",),), "float64", "", "fit statistic at the best norm", ("stat_scan",)),
            "mask_safe": Variable((("energy",),), "bool", "", "points that can be used"),
            "mask_fit": Variable((("energy",),), "bool", "", "points chosen for the fit"),
            **_GTI_VARIABLES,
        },
        required=("dnde",),
        coordinates=_ENERGY,
        required_coordinates=("energy",),
        gaps=True,
    ),
}
