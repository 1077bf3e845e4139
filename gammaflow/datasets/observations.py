"""Which observations went into a dataset, one row each, and the times that all of them are counted from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from astropy.time import Time
from numpy.typing import NDArray

from gammaflow.data import TimeReference
from gammaflow.datasets.schema import OBSERVATION_COLUMNS
from gammaflow.errors import SchemaError

#: Reference time of datasets that have no times, and of everything that is stacked (TT).
REFERENCE_TIME = "2000-01-01T00:00:00.000000000"


@dataclass(frozen=True, slots=True)
class ObservationRow:
    """One observation that went into a dataset.

    Times are seconds after the reference time of the dataset's good time intervals; angles are in deg, the
    pointing in ICRS. NaN stands for what is not known or does not apply. ``used`` is set by stacking.
    """

    obs_id: int
    tstart: float
    tstop: float
    ontime: float
    livetime: float
    ra_pnt: float
    dec_pnt: float
    zenith: float = np.nan
    azimuth: float = np.nan
    background_norm: float = np.nan
    background_tilt: float = np.nan
    used: bool = True


class ObservationTable:
    """Rows of observations as columns, immutable.

    Parameters
    ----------
    columns : mapping of str to array
        One array (n_observations,) for each of `gammaflow.datasets.schema.OBSERVATION_COLUMNS`.

    Raises
    ------
    SchemaError
        When columns are missing, unknown, or of different lengths.
    """

    __slots__ = ("columns",)
    columns: Mapping[str, NDArray]

    def __init__(self, columns: Mapping[str, NDArray]) -> None:
        missing = [f"observation column {n!r} is missing" for n in OBSERVATION_COLUMNS if n not in columns]
        unknown = [
            f"observation column {n!r} is not in the schema" for n in columns if n not in OBSERVATION_COLUMNS
        ]
        if missing or unknown:
            raise SchemaError(missing + unknown)
        arrays = {n: np.asarray(columns[n], dtype=v.dtype) for n, v in OBSERVATION_COLUMNS.items()}
        if len({a.shape for a in arrays.values()}) > 1 or arrays["obs_id"].ndim != 1:
            raise SchemaError(
                [f"observation columns have different lengths: { {n: a.shape for n, a in arrays.items()} }"]
            )
        self.columns = arrays

    @classmethod
    def empty(cls) -> ObservationTable:
        """No rows."""
        return cls({name: np.zeros(0, dtype=v.dtype) for name, v in OBSERVATION_COLUMNS.items()})

    @classmethod
    def from_rows(cls, rows: Sequence[ObservationRow]) -> ObservationTable:
        """From single rows, in their order."""
        return cls(
            {
                f.name: np.array([getattr(r, f.name) for r in rows], dtype=OBSERVATION_COLUMNS[f.name].dtype)
                for f in dataclasses.fields(ObservationRow)
            }
        )

    @classmethod
    def concatenate(cls, tables: Sequence[ObservationTable]) -> ObservationTable:
        """All rows of ``tables``, in their order."""
        if not tables:
            return cls.empty()
        return cls({name: np.concatenate([t.columns[name] for t in tables]) for name in OBSERVATION_COLUMNS})

    def __len__(self) -> int:
        return len(self.columns["obs_id"])

    def __getitem__(self, name: str) -> NDArray:
        return self.columns[name]

    def __iter__(self) -> Iterator[ObservationRow]:
        for values in zip(
            *(self.columns[f.name].tolist() for f in dataclasses.fields(ObservationRow)), strict=True
        ):
            yield ObservationRow(*values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ObservationTable):
            return NotImplemented
        return all(
            np.array_equal(a, other.columns[n], equal_nan=a.dtype.kind == "f")
            for n, a in self.columns.items()
        )

    __hash__ = None  # type: ignore[assignment]  # arrays inside: equal tables cannot be promised equal hashes

    def __repr__(self) -> str:
        return f"ObservationTable({len(self)} rows)"

    def replace(self, **columns: NDArray) -> ObservationTable:
        """The same rows with other columns."""
        return ObservationTable({**self.columns, **columns})

    def shifted(self, seconds: float) -> ObservationTable:
        """The same rows with times counted from a reference time that lies ``seconds`` earlier."""
        if seconds == 0.0:
            return self
        return self.replace(tstart=self["tstart"] + seconds, tstop=self["tstop"] + seconds)

    def in_time_order(self) -> ObservationTable:
        """Rows sorted by (tstart, obs_id): an order that does not depend on how they came together."""
        if len(self) < 2:
            return self
        # Whether a row is in use decides between those of one observation that was reduced twice
        order = np.lexsort((self["used"], self["obs_id"], self["tstart"]))
        return ObservationTable({name: a[order] for name, a in self.columns.items()})

    @property
    def livetime(self) -> float:
        """Sum of the livetimes of the rows in use, s."""
        # Columns are added as in-order float64: the rows of a stack are in time order, whatever its tree was.
        return float(np.sum(self["livetime"][self["used"]]))


@lru_cache(maxsize=256)
def reference_string(reference: TimeReference) -> str:
    """A reference time as the string that datasets keep: ISO, scale TT, to the nanosecond."""
    return str(Time(reference.time, precision=9).isot)


@lru_cache(maxsize=256)
def parse_reference(text: str) -> TimeReference:
    """The reference time (TT) that an ISO string names."""
    return TimeReference.from_time(Time(text, scale="tt"))


@lru_cache(maxsize=256)
def seconds_between(earlier: str, later: str) -> float:
    """Seconds from one reference time to another, TT, rounded to the nanosecond."""
    return round(parse_reference(later).seconds_after(parse_reference(earlier)), 9)
