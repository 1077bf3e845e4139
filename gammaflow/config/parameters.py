"""The `parameters` of the configuration: which arguments a maker or estimator knows, and of what kind.

Their values stay as they were written, so that the YAML reads back the same; here they are checked, and
brought to their canonical form.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from astropy import units as u
from astropy.coordinates import SkyCoord

from gammaflow.config.quantities import parse_angle, parse_positive_angle, quantity_text

Kind = Callable[[Any], Any]


def _number(low: float, high: float = float("inf")) -> Kind:
    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            limits = f"from {low:g} to {high:g}" if high < float("inf") else f"of {low:g} or more"
            raise ValueError(f"a number {limits} is needed")
        return float(value)

    return parse


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("a whole number of 1 or more is needed")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false is needed")
    return value


def _choice(*options: str) -> Kind:
    def parse(value: Any) -> str:
        if value not in options:
            raise ValueError(f"allowed is {' or '.join(repr(option) for option in options)}")
        return str(value)

    return parse


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a text is needed")
    return value


def _position(value: Any) -> dict[str, Any]:
    if isinstance(value, SkyCoord):
        value = {"frame": "icrs", "lon": value.icrs.ra, "lat": value.icrs.dec}
    if not isinstance(value, Mapping) or set(value) != {"frame", "lon", "lat"}:
        raise ValueError("write {frame: icrs, lon: 83.63 deg, lat: 22.01 deg}")
    frame = _choice("icrs", "galactic")(value["frame"])
    return {"frame": frame, "lon": parse_angle(value["lon"]), "lat": parse_angle(value["lat"])}


def _optional(kind: Kind) -> Kind:
    return lambda value: None if value is None else kind(value)


def _selection(*known: str) -> Kind:
    def parse(value: Any) -> Any:
        values = value if isinstance(value, list) else [value]
        unknown = [one for one in values if one not in (*known, "all", None)]
        if unknown:
            raise ValueError(f"allowed is 'all' or a list of {', '.join(known)}; not {unknown[0]!r}")
        return value

    return parse


_POSITIVE = _number(0.0)
_ESTIMATOR: dict[str, Kind] = {
    "n_sigma": _POSITIVE,
    "n_sigma_ul": _POSITIVE,
    "n_sigma_sensitivity": _POSITIVE,
    "selection_optional": _selection("errn-errp", "ul", "scan", "sensitivity"),
    "sum_over_energy_groups": _flag,
}
_FLUX: dict[str, Kind] = {**_ESTIMATOR, "reoptimize": _flag}

#: Arguments of each maker and estimator that a configuration can give.
KNOWN: dict[str, dict[str, Kind]] = {
    "SafeMaskMaker": {
        "aeff_percent": _number(0.0, 100.0),
        "bias_percent": _POSITIVE,
        "position": _optional(_position),
        "fixed_offset": _optional(parse_angle),
        "offset_max": parse_positive_angle,
        "irfs": _choice("DL3", "DL4"),
    },
    "FoVBackgroundMaker": {
        "method": _choice("scale", "fit"),
        "spectral_model": _text,
        "spatial_model": _optional(_text),
        "min_counts": _POSITIVE,
        "min_npred_background": _POSITIVE,
    },
    "RingBackgroundMaker": {"r_in": parse_positive_angle, "width": parse_positive_angle},
    "ReflectedRegionsBackgroundMaker": {
        "angle_increment": parse_positive_angle,
        "min_distance": parse_angle,
        "min_distance_input": parse_angle,
        "max_region_number": _count,
        "binsz": parse_positive_angle,
    },
    "FluxPointsEstimator": _FLUX,
    "LightCurveEstimator": {**_FLUX, "stack_over_time_interval": _flag, "atol": _text},
    "ExcessMapEstimator": {**_ESTIMATOR, "correlate_off": _flag, "spectral_model": _text},
}

#: The background maker of each method.
BACKGROUND_MAKERS = {
    "fov_background": "FoVBackgroundMaker",
    "ring": "RingBackgroundMaker",
    "reflected": "ReflectedRegionsBackgroundMaker",
}


class ParametersError(ValueError):
    """Everything that is wrong with some parameters: pairs of key and problem."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{key}: {problem}" for key, problem in problems))
        self.problems = problems


def check_parameters(owner: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as plain values.

    Raises
    ------
    ParametersError
        Everything that is wrong with them at once.
    """
    known = KNOWN[owner]
    problems = []
    for key, value in parameters.items():
        if key == "exclusion_mask" and owner in BACKGROUND_MAKERS.values():
            problems.append((key, "the file of the mask is named in datasets.background.exclusion"))
        elif key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.6)
            hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(known)}"
            problems.append((str(key), f"{owner} has no such parameter; {hint}"))
        else:
            try:
                known[key](value)
            except ValueError as error:
                problems.append((key, f"found {value!r}; {error}"))
    if problems:
        raise ParametersError(problems)
    return {key: _plain(value) for key, value in parameters.items()}


def canonical_parameters(owner: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parsed values of checked parameters, for the canonical form."""
    return {key: KNOWN[owner][key](value) for key, value in parameters.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, u.Quantity):
        return quantity_text(value)
    if isinstance(value, SkyCoord):
        position = _position(value)
        return {key: part if isinstance(part, str) else quantity_text(part) for key, part in position.items()}
    return value
