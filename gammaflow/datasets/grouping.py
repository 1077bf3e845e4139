"""Datasets, or observations, of similar conditions: by a value that they have, in bins or value by value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gammaflow.config.quantities import canonical_time, parse_time
from gammaflow.datasets.observations import parse_reference
from gammaflow.datasets.schema import OBSERVATION_COLUMNS
from gammaflow.errors import ConfigError, DataError
from gammaflow.maps import separation
from gammaflow.maps.frames import lonlat_to_vectors, position_vector

QUANTITIES: Final = {"zenith": "deg", "offset": "deg", "time": "mjd"}
"""What can be binned without a column of its own, and what bare numbers of its bins are in: the zenith angle, the
distance of the pointing from the source, the middle of the observation (MJD in TT)."""

_PLAIN = re.compile(r"[0-9.]+")


@dataclass(frozen=True)
class Bins:
    """Half-open bins, and what their edges are called.

    Attributes
    ----------
    edges : tuple of float
        Increasing.
    texts : tuple of str
        The edges as they stand in labels.
    """

    edges: tuple[float, ...]
    texts: tuple[str, ...]

    @classmethod
    def of(cls, edges: Sequence[object], unit: str | None, where: str) -> Bins:
        """Bins from what a user wrote.

        Parameters
        ----------
        edges : sequence of float, str, Quantity or Time
            Two or more. Bare numbers are in ``unit``.
        unit : str or None
            What the values are in; "mjd" for times: then texts are ISO 8601 in UTC, e.g. ``2004-03-26``, and bare
            numbers MJD in TT.
        where : str
            Named in errors.

        Raises
        ------
        ConfigError
            When an edge cannot be converted, or they do not increase.
        """
        pairs = [_edge(edge, unit, where) for edge in edges]
        numbers = [number for number, _ in pairs]
        if len(numbers) < 2 or any(not low < high for low, high in pairwise(numbers)):
            raise ConfigError(
                f"the edges {', '.join(map(str, edges))} do not increase",
                where=where,
                hint="Give two increasing edges or more",
            )
        return cls(tuple(numbers), tuple(text for _, text in pairs))

    def label(self, value: float) -> str | None:
        """The bin that holds a value, e.g. ``20-40`` or ``2004-03-01_to_2004-04-01``; None outside all of them."""
        index = int(np.searchsorted(self.edges, value, side="right")) - 1
        if not (np.isfinite(value) and 0 <= index < len(self.edges) - 1):
            return None
        plain = all(_PLAIN.fullmatch(text) for text in self.texts)
        return ("-" if plain else "_to_").join(self.texts[index : index + 2])


def _edge(edge: object, unit: str | None, where: str) -> tuple[float, str]:
    """An edge in a unit, and its text."""
    if isinstance(edge, int | float | np.number):
        return float(edge), f"{float(edge):.12g}"
    try:
        if unit == "mjd":
            time = parse_time(edge)
            text = str(canonical_time(time)).replace(" ", "T").removesuffix("T00:00:00").replace(":", "")
            return float(time.tt.mjd), text
        number = float(u.Quantity(edge).to_value(unit or ""))
    except (ValueError, TypeError, u.UnitConversionError) as error:
        kind = "a time, e.g. '2004-03-26'" if unit == "mjd" else f"in {unit}" if unit else "a bare number"
        raise ConfigError(
            f"the edge {str(edge)!r} is not {kind}",
            where=where,
            hint="Give edges that can be compared with it",
        ) from error
    return number, f"{number:.12g}"


@dataclass(frozen=True)
class GroupBy:
    """What makes datasets alike.

    Attributes
    ----------
    column : str
        ``zenith``, ``offset`` or ``time``; or a column of the table of observations, e.g. ``azimuth``; or a key of
        ``meta``, e.g. ``instrument``.
    bins : tuple of float, str, Quantity or Time
        Edges of half-open bins, see `Bins`; without them the values themselves are the groups.
    position : SkyCoord or array, optional
        What the offset is measured from; the centre of the region of a spectrum when not given.
    """

    column: str
    bins: tuple[Any, ...] = ()
    position: SkyCoord | NDArray[np.float64] | None = None

    def label(self, dataset: Any) -> str:
        """The group of a dataset: ``<column>-<value>``, or ``<column>-<lower>-<upper edge>``.

        Of several observations the mean of the values counts, by livetime, where there are bins; without bins
        they must agree.

        Raises
        ------
        ConfigError
            When the bins are wrong.
        DataError
            When the dataset has no value, several, or one outside the bins.
        """
        where = f"dataset {dataset.name}"
        if self.column in dataset.meta:
            return f"{self.column}-{dataset.meta[self.column]}"
        rows = getattr(dataset, "observations", None)
        known = {*QUANTITIES, *OBSERVATION_COLUMNS}
        if self.column not in known or rows is None or not len(rows):
            raise DataError(
                f"it has no {self.column!r} to be grouped by",
                where=where,
                hint=f"Known are the keys of its meta, and {', '.join(sorted(known))}",
            )
        values = self._values(dataset)
        if not self.bins:
            different = np.unique(values)
            if len(different) > 1:
                raise DataError(
                    f"its observations have {len(different)} values of {self.column!r}",
                    where=where,
                    hint="Give bins",
                )
            return f"{self.column}-{different[0]}"
        unit = QUANTITIES.get(self.column) or OBSERVATION_COLUMNS[self.column].units
        bins = Bins.of(self.bins, unit, f"bins of {self.column}")
        weights = rows["livetime"] if rows["livetime"].sum() > 0 else np.ones(len(rows))
        mean = float(np.average(values, weights=weights))
        label = bins.label(mean)
        if label is None:
            raise DataError(
                f"its {self.column} {mean:.10g} is outside the bins {bins.texts[0]} to {bins.texts[-1]}",
                where=where,
                hint="Widen the bins, or leave the dataset out",
            )
        return f"{self.column}-{label}"

    def _values(self, dataset: Any) -> NDArray[Any]:
        """The value of each observation of a dataset."""
        rows = dataset.observations
        if self.column == "time":
            middle = 0.5 * (rows["tstart"] + rows["tstop"])
            return np.asarray(parse_reference(dataset.time_reference).at(middle).mjd)
        if self.column == "offset":
            pointings = lonlat_to_vectors(rows["ra_pnt"], rows["dec_pnt"])
            return separation(pointings, self._center(dataset))
        return np.asarray(rows[self.column])

    def _center(self, dataset: Any) -> NDArray[np.float64]:
        if self.position is not None:
            return position_vector(self.position)
        if not dataset.tag.startswith("Spectrum"):
            raise DataError(
                "a map does not say what the offset is to be measured from",
                where=f"dataset {dataset.name}",
                hint="Give the position of the source",
            )
        return np.asarray(dataset.geom.center_vector)


def groups_of(datasets: Sequence[Any], by: GroupBy) -> dict[str, list[Any]]:
    """Datasets by the label of their group, groups in the order of their first members."""
    groups: dict[str, list[Any]] = {}
    for dataset in datasets:
        groups.setdefault(by.label(dataset), []).append(dataset)
    return groups
