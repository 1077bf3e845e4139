"""Tables of flux points and datasets of them, both ways: the SED types of the GADF.

Every type gives, besides the energies, a quantity ``q`` with its errors and limit; all are multiplied by what turns it
into a differential flux at the reference energy:

    ==========  ==================  ==========================================
    SED type    column              factor
    ==========  ==================  ==========================================
    dnde        ``dnde``            1
    e2dnde      ``e2dnde``          1 / e_ref^2
    flux        ``flux``            f(e_ref) / integral of f from e_min to e_max
    eflux       ``eflux``           f(e_ref) / integral of E f from e_min to e_max
    likelihood  ``norm``            ``ref_dnde``
    ==========  ==================  ==========================================

f is the reference spectrum, a power law of index 2 unless another is given. Source: gamma-astro-data-formats, "Flux
points" and "SED types"; for what tables leave out, Gammapy's rules.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray
from scipy.stats import norm as normal

from gammaflow.data import GTI
from gammaflow.datasets import FluxPointsDataset
from gammaflow.errors import CorruptFileError, DataError, MissingHduError, SchemaError, UnsupportedError
from gammaflow.io.table_columns import TableColumns
from gammaflow.modeling import PowerLawSpectralModel, SpectralModel

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

_DNDE = u.Unit("cm-2 s-1 TeV-1")
#: Units of the types, with energies in TeV.
_UNITS = {
    "dnde": _DNDE,
    "e2dnde": u.Unit("TeV cm-2 s-1"),
    "flux": u.Unit("cm-2 s-1"),
    "eflux": u.Unit("TeV cm-2 s-1"),
    "likelihood": u.dimensionless_unscaled,
}
_ERG = u.Unit("erg cm-2 s-1")
_WRITTEN = {**_UNITS, "e2dnde": _ERG, "eflux": _ERG}
_COLUMNS = {name: "norm" if name == "likelihood" else name for name in _UNITS}
_ENDS = ("", "_err", "_errn", "_errp", "_ul")
_SQRT_TS_LIMIT = 2.0
#: Energies that differ by less, relatively, are the same.
_SAME = 1e-6


def from_table(
    table: Table,
    name: str,
    where: str,
    *,
    sed_type: str | None = None,
    reference: SpectralModel | None = None,
    gti: GTI | None = None,
    meta: Mapping[str, Any] | None = None,
) -> FluxPointsDataset:
    """A dataset from a table of flux points of any SED type.

    Rows are sorted by energy. Which points are limits is told by ``is_ul``; else, where there are ``ts`` and limits, by
    sqrt(TS) below 2; else by a limit without a flux. Errors count without their sign. Of a likelihood ``stat_scan`` is
    taken with ``stat`` (without it: the lowest of the scan), or twice ``dloglike_scan``.

    Parameters
    ----------
    table : Table
        Letter case of the columns does not matter. The card ``SED_TYPE``, or else the columns, say of which type it
        is; ``UL_CONF`` of which confidence the limits are.
    name : str
        Name of the dataset.
    where : str
        Named in errors, e.g. the path of the file.
    sed_type : {"dnde", "e2dnde", "flux", "eflux", "likelihood"}, optional
        Of which type it is, whatever it says.
    reference : SpectralModel, optional
        The spectrum f above.
    gti : GTI, optional
        When the fluxes were measured.
    meta : mapping, optional
        What else is known.

    Raises
    ------
    MissingHduError
        When a column is missing.
    UnitError
        When a column has a unit of another kind, or none.
    CorruptFileError, UnsupportedError, DataError
        When the type is not known; it is a light curve; the points have no errors, or share an energy.
    """
    columns = TableColumns(table, where)
    for found, what in (("time_min", "a light curve"), ("x_min", "a profile along the sky")):
        if found in columns:
            raise UnsupportedError(
                f"it is {what}", where=where, hint="Only flux points over energy alone can be read"
            )
    kind = _kind(columns, sed_type)
    low, high, energy = _energies(columns, kind)
    order = np.argsort(energy, kind="stable")
    if not (np.diff(energy[order]) > 0).all():
        raise DataError(
            "several points have the same energy", where=where, hint="Put them into datasets of their own"
        )
    factor = _factor(kind, columns, energy, low, high, reference)
    stem = _COLUMNS[kind]
    given: dict[str, Any] = {}
    for end in _ENDS:
        if not end or stem + end in columns:
            values = columns.values(stem + end, _UNITS[kind]) * factor
            given[f"dnde{end}"] = np.abs(values) if end.startswith("_err") else values
    given |= _flags(columns, given, len(energy))
    given |= _scan(columns)
    known = dict(meta or {})
    n_sigma = _limits_at(columns)
    if n_sigma is not None:
        known.setdefault("n_sigma_ul", n_sigma)
    bounds: dict[str, Any] = (
        {} if low is None or high is None else {"energy_min": low[order], "energy_max": high[order]}
    )
    try:
        return FluxPointsDataset.from_arrays(
            name, energy[order], given.pop("dnde")[order], gti=gti, meta=known, **bounds,
            **{column: values[order] for column, values in given.items()},
        )  # fmt: skip
    except (DataError, SchemaError) as error:
        raise error.at(where) from None


def to_table(
    dataset: FluxPointsDataset, sed_type: str | None = None, reference: SpectralModel | None = None
) -> Table:
    """A table of flux points that Gammapy, too, reads.

    Parameters
    ----------
    dataset : FluxPointsDataset
        What to write. Edges of bins are left out where Gammapy would misread them: it takes the middle of a bin for its
        energy, and knows no gaps.
    sed_type : {"dnde", "e2dnde", "flux", "eflux", "likelihood"}, optional
        ``likelihood`` where there is a scan, else ``dnde``, when not given. A scan has a place only in a likelihood.
        Columns ``dnde`` stand in every table.
    reference : SpectralModel, optional
        The spectrum f of the module.

    Raises
    ------
    UnsupportedError
        When the type is not known, or needs edges of bins, or ``dnde_ref``, that the dataset does not have.
    """
    kind = sed_type or ("likelihood" if dataset.array("stat_scan") is not None else "dnde")
    where = f"dataset {dataset.name}"
    if kind not in _UNITS:
        raise UnsupportedError(f"the SED type {kind!r}", where=where, hint=f"Known are {', '.join(_UNITS)}")
    energy = dataset.energy
    low, high = (_coordinate(dataset, n) for n in ("energy_min", "energy_max"))
    table = Table(meta={"SED_TYPE": kind})
    table["e_ref"] = energy * u.TeV
    if low is not None and high is not None and _regular(energy, low, high):
        table["e_min"], table["e_max"] = low * u.TeV, high * u.TeV
    reference_flux = dataset.array("dnde_ref")
    if reference_flux is not None:
        table["ref_dnde"] = reference_flux * _DNDE
        table["ref_e2dnde"] = (reference_flux * energy**2 * _UNITS["e2dnde"]).to(_ERG)
    if kind == "likelihood":
        if reference_flux is None:
            raise UnsupportedError(
                "there are no reference fluxes (dnde_ref)", where=where, hint="Choose another SED type"
            )
        factor = np.asarray(reference_flux)
    else:
        factor = _factor(kind, TableColumns(table, where), energy, low, high, reference)
    for end in _ENDS:
        values = dataset.array(f"dnde{end}")
        if values is None:
            continue
        table[f"dnde{end}"] = values * _DNDE
        if kind != "dnde":
            table[_COLUMNS[kind] + end] = (values / factor * _UNITS[kind]).to(_WRITTEN[kind])
    n_sigma = dataset.meta.get("n_sigma_ul")
    if n_sigma is not None:
        table.meta["UL_CONF"] = round(float(1.0 - 2.0 * normal.sf(n_sigma)), 9)
    if dataset.array("sqrt_ts") is not None:
        table["sqrt_ts"] = dataset.array("sqrt_ts")
    if kind == "likelihood" and dataset.array("stat_scan") is not None:
        stat = dataset.array("stat")
        table["norm_scan"], table["stat_scan"] = dataset.array("norm_scan"), dataset.array("stat_scan")
        table["stat"] = np.zeros(len(energy)) if stat is None else stat
    table["is_ul"] = dataset.is_ul
    for mask in ("mask_safe", "mask_fit"):
        # Gammapy's lists of datasets need both, and in the shape of its maps
        values = dataset.array(mask)
        chosen = np.ones(len(energy), dtype=bool) if values is None else values
        table[mask] = chosen.reshape(-1, 1, 1)
    return table


def _coordinate(dataset: FluxPointsDataset, name: str) -> Floats | None:
    return np.asarray(dataset.data.coords[name].values) if name in dataset.data.coords else None


def _regular(energy: Floats, low: Floats, high: Floats) -> bool:
    """Whether bins without gaps have the energies in their (logarithmic) middle."""
    return bool(
        np.allclose(low[1:], high[:-1], rtol=_SAME, atol=0)
        and np.allclose(np.sqrt(low * high), energy, rtol=_SAME, atol=0)
    )


def _kind(columns: TableColumns, asked: str | None) -> str:
    said = asked or columns.meta.get("SED_TYPE")
    if said is not None:
        kind = str(said).strip().lower()
        if kind not in _UNITS:
            raise CorruptFileError(
                f"the SED type is {said!r}", where=columns.where, hint=f"Known are {', '.join(_UNITS)}"
            )
        return kind
    for kind, name in _COLUMNS.items():
        if name in columns and (kind != "likelihood" or "ref_dnde" in columns):
            return kind
    raise MissingHduError(
        f"there is no column {', '.join(_COLUMNS.values())}; the table has {', '.join(columns.names) or 'none'}",
        where=columns.where,
        hint="It is no table of flux points, or one whose columns have other names: rename them",
    )


def _energies(columns: TableColumns, kind: str) -> tuple[Floats | None, Floats | None, Floats]:
    """Lower and upper edges if there are any, and the reference energies; TeV."""
    low: Floats | None = None
    high: Floats | None = None
    has_edges = "e_min" in columns and "e_max" in columns
    if has_edges or kind in ("flux", "eflux"):
        low, high = columns.values("e_min", u.TeV), columns.values("e_max", u.TeV)
        if not (np.isfinite(low + high).all() and (low < high).all() and (low > 0).all()):
            raise CorruptFileError(
                "a bin has no width (e_min, e_max)", where=columns.where, hint="Check the file"
            )
    if low is None or high is None or "e_ref" in columns:
        energy = columns.values("e_ref", u.TeV)
    else:
        energy = np.sqrt(low * high)
    if not (np.isfinite(energy).all() and (energy > 0).all()):
        raise CorruptFileError(
            "an energy is not positive (e_ref)", where=columns.where, hint="Check the file"
        )
    return low, high, energy


def _factor(
    kind: str,
    columns: TableColumns,
    energy: Floats,
    low: Floats | None,
    high: Floats | None,
    reference: SpectralModel | None,
) -> Floats:
    if kind == "dnde":
        return np.ones_like(energy)
    if kind == "e2dnde":
        return energy**-2
    if kind == "likelihood":
        return columns.values("ref_dnde", _DNDE)
    if low is None or high is None:
        raise UnsupportedError(
            f"a {kind} needs edges of bins", where=columns.where, hint="Choose the SED type dnde or e2dnde"
        )
    model = reference or PowerLawSpectralModel(index=2.0, amplitude="1e-12 cm-2 s-1 TeV-1", reference="1 TeV")
    integrate = model.integral if kind == "flux" else model.energy_flux
    return np.asarray(
        (model(energy * u.TeV) / integrate(low * u.TeV, high * u.TeV)).to_value(_DNDE / _UNITS[kind])
    )


def _limits_at(columns: TableColumns) -> float | None:
    """Of how many sigma the limits are, by the card UL_CONF."""
    said = columns.meta.get("UL_CONF")
    if said is None:
        return None
    try:
        n_sigma = float(normal.isf(0.5 * (1.0 - float(said))))
    except (TypeError, ValueError):
        n_sigma = np.nan
    if not 0.0 < n_sigma < np.inf:
        raise CorruptFileError(
            f"the card UL_CONF is {said!r}", where=columns.where, hint="It is a probability between 0 and 1"
        )
    return round(n_sigma, 6)


def _flags(columns: TableColumns, given: Mapping[str, Any], n: int) -> dict[str, NDArray[Any]]:
    """Significances, limits and masks."""
    out: dict[str, NDArray[Any]] = {}
    if "sqrt_ts" in columns:
        out["sqrt_ts"] = columns.values("sqrt_ts", u.dimensionless_unscaled)
    elif "ts" in columns:
        ts = columns.values("ts", u.dimensionless_unscaled)
        out["sqrt_ts"] = np.where(given["dnde"] < 0, -1.0, 1.0) * np.sqrt(np.clip(ts, 0.0, None))
    if "is_ul" in columns:
        out["is_ul"] = columns.truths("is_ul")
    elif "sqrt_ts" in out and "dnde_ul" in given:
        out["is_ul"] = out["sqrt_ts"] < float(columns.meta.get("SQRT_TS_THRESHOLD_UL", _SQRT_TS_LIMIT))
    if "is_ul" in out and "dnde_ul" not in given:
        out["dnde_ul"] = np.full(n, np.nan)
    for mask in ("mask_safe", "mask_fit"):
        if mask in columns:
            out[mask] = columns.truths(mask).reshape(n)
    return out


def _scan(columns: TableColumns) -> dict[str, Floats]:
    """Reference fluxes and the scan of a likelihood; no scan, with a warning, where its norms stand for no flux."""
    out = {"dnde_ref": columns.values("ref_dnde", _DNDE)} if "ref_dnde" in columns else {}
    names = [n for n in ("stat_scan", "dloglike_scan") if n in columns]
    if not names or "norm_scan" not in columns:
        return out
    if not out:
        log.warning(
            "%s: its likelihood scan is left out: there are no reference fluxes (ref_dnde)", columns.where
        )
        return {}
    pure = u.dimensionless_unscaled
    norm, scan = columns.values("norm_scan", pure), columns.values(names[0], pure)
    if norm.ndim == 1 and scan.ndim == 2:
        norm = np.repeat(norm[None], len(scan), axis=0)
    if scan.ndim != 2 or norm.shape != scan.shape:
        raise CorruptFileError(
            f"norm_scan has the shape {norm.shape}, {names[0]} {scan.shape}",
            where=columns.where,
            hint="Check the file",
        )
    out["norm_scan"] = norm
    if names[0] == "dloglike_scan":
        return {**out, "stat_scan": 2.0 * _sign(scan, columns.where) * scan}
    stat = columns.values("stat", pure) if "stat" in columns else np.min(scan, axis=1)
    return {**out, "stat_scan": scan, "stat": stat}


def _sign(scan: Floats, where: str) -> float:
    """1 for differences of -ln L, -1 for those of ln L, which are negative (fermipy)."""
    low, high = float(np.nanmin(scan)), float(np.nanmax(scan))
    if high <= 1e-3 * abs(low):
        return -1.0
    if low >= -1e-3 * high:
        return 1.0
    raise CorruptFileError(
        f"dloglike_scan goes from {low:g} to {high:g}",
        where=where,
        hint="It must be all negative, or all positive",
    )
