"""The entries of a file of models: keys that are allowed, and parameters from and to their mappings."""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Iterable
from typing import Any

from astropy import units as u

from gammaflow.errors import ModelError
from gammaflow.modeling.parameter import Parameter
from gammaflow.modeling.parameters import Parameters

log = logging.getLogger(__name__)

OPTIONAL_IN_FILES = ("min", "max", "error", "interp", "scale_method", "scale_transform")
PARAMETER_KEYS = ("name", "value", "unit", "frozen", "link", "prior", *OPTIONAL_IN_FILES)
OBSOLETE_KEYS = ("is_norm",)


def check_keys(entry: dict[str, Any], allowed: tuple[str, ...]) -> None:
    """Refuse a key that is not known, naming the nearest one that is."""
    for key in entry:
        if key not in allowed:
            raise ModelError(
                f"unknown key {key!r}{nearest(str(key), allowed)}", hint=f"Known: {', '.join(allowed)}"
            )


def read_parameters(data: Any, defaults: Parameters) -> dict[str, Parameter]:
    """Parameters by name from the list of a YAML entry.

    One that is missing is an error, unless it is frozen by default: then it has its default, with a warning.

    Parameters
    ----------
    data : list of dict
        Entries with ``name``, ``value`` and more.
    defaults : Parameters
        The parameters of the model's class.
    """
    if data is None:
        data = []
    if not isinstance(data, list) or not all(isinstance(entry, dict) and "name" in entry for entry in data):
        raise ModelError("'parameters' is no list of mappings with a name and a value")
    entries: dict[str, dict[str, Any]] = {}
    for entry in data:
        name = entry["name"]
        if name not in defaults.names:
            raise ModelError(
                f"unknown parameter {name!r}{nearest(str(name), defaults.names)}",
                hint=f"It has {', '.join(defaults.names) or 'none'}",
            )
        if name in entries:
            raise ModelError(f"parameter {name!r} is given twice")
        entries[name] = entry
    parameters: dict[str, Parameter] = {}
    for default in defaults:
        if default.name in entries:
            parameters[default.name] = parameter_from_dict(entries[default.name], default)
        elif default.frozen:
            if entries:
                log.warning("Parameter %r is not given: frozen at %s", default.name, default.quantity)
            parameters[default.name] = default.copy()
        else:
            raise ModelError(
                f"parameter {default.name!r} is missing",
                hint=f"Add it with name, value and unit (by default {default.quantity})",
            )
    return parameters


def parameter_from_dict(entry: dict[str, Any], default: Parameter | None = None) -> Parameter:
    """A parameter from its YAML entry; what the entry leaves out is as in ``default``."""
    where = f"parameter {entry.get('name')!r}"
    for key in OBSOLETE_KEYS:
        entry = {k: v for k, v in entry.items() if k != key}
    try:
        check_keys(entry, PARAMETER_KEYS)
    except ModelError as error:
        raise error.at(where) from None
    if "value" not in entry:
        raise ModelError("has no value", where=where, hint="Add 'value:'")
    known = {} if default is None else default.to_dict()
    data = {**known, **entry}
    link, prior = data.pop("link", None), data.pop("prior", None)
    if not isinstance(data.get("frozen", False), bool):
        raise ModelError(f"frozen is {data['frozen']!r}", where=where, hint="Give true or false")
    try:
        unit = u.Unit(data.get("unit") or "")
    except ValueError as error:
        raise ModelError(f"unit {data['unit']!r} is not known: {error}", where=where) from None
    if default is not None and not unit.is_equivalent(default.unit):
        raise ModelError(
            f"unit {unit.to_string('fits')!r} where one like {default.unit.to_string('fits')!r} is needed",
            where=where,
        )
    if default is not None and unit != default.unit:
        # limits that the file does not give are the class's, in the class's unit
        for key in ("min", "max", "error"):
            if key not in entry:
                data[key] = data[key] * float(default.unit.to(unit))
    data["unit"] = unit
    parameter = Parameter(**data)
    parameter.link = link
    try:
        parameter.prior = prior
    except ModelError as error:
        raise error.at(where) from None
    parameter.check()
    return parameter


def parameter_to_dict(parameter: Parameter, default: Parameter, full_output: bool) -> dict[str, Any]:
    """The YAML entry of a parameter; without ``full_output`` what is as in ``default`` is left out."""
    data = parameter.to_dict()
    if full_output:
        return data
    usual = default.to_dict()
    for key in OPTIONAL_IN_FILES:
        if data[key] == usual[key] or (_is_nan(data[key]) and _is_nan(usual[key])):
            del data[key]
    if data["frozen"] == usual["frozen"]:
        del data["frozen"]
    if usual["unit"] == "" and data["unit"] == "":
        del data["unit"]
    return data


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def nearest(name: str, known: Iterable[Any]) -> str:
    """``, did you mean '...'?`` when a known name is near, else nothing."""
    near = difflib.get_close_matches(name, [str(k) for k in known], n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""
