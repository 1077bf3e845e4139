"""The section `flow`: what is ours and not Gammapy's, about how a run goes."""

from __future__ import annotations

import datetime
import re
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from astropy import units as u
from pydantic import Field, field_validator, model_validator

from gammaflow.config.quantities import DurationType, PathType
from gammaflow.config.section import Section

_BYTES = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}
_MEMORY = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*$", re.IGNORECASE)
_PERCENT = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*%\s*$")


class GroupByConfig(Section):
    """Observations are stacked in groups of equal or similar conditions.

    A text in its place is the column.

    Attributes
    ----------
    column : str
        A column of the observation table; or ``zenith``, ``offset`` (of the pointing from the centre of the map, or
        of the region of a spectrum) or ``time`` (the middle of the observation), which follow from others.
    bins : list of float or str, optional
        Edges of half-open bins: numbers in the column's unit (deg; MJD in TT for ``time``), or with a unit of their
        own, or times (UTC).
    """

    column: str
    bins: list[float | str] | None = None

    @field_validator("bins", mode="before")
    @classmethod
    def _dates(cls, bins: Any) -> Any:
        if not isinstance(bins, list):
            return bins
        return [
            edge.isoformat() if isinstance(edge, datetime.date) else edge for edge in bins
        ]  # YAML knows dates

    @field_validator("bins")
    @classmethod
    def _increasing(cls, bins: list[float | str] | None) -> list[float | str] | None:
        if bins is not None:
            numbers = [
                edge for edge in bins if isinstance(edge, float)
            ]  # texts are compared when they are converted
            if len(bins) < 2 or any(a >= b for a, b in pairwise(numbers)):
                raise ValueError("give two increasing edges or more")
        return bins


class FlowConfig(Section):
    """How a run goes: where, on how many workers, and what happens when something fails.

    Attributes
    ----------
    run : str, optional
        The run's folder.
    workers : int, optional
        Worker processes of a cluster started on this machine.
    scheduler : str, optional
        Address of a Dask scheduler that runs already, e.g. ``tcp://head:8786``.
    fan_in : int
        Datasets that one stacking task takes in.
    allow_failed : int or str
        Observations that may fail before the run stops ahead of stacking: a number, or e.g. ``"5%"`` of them.
    exclude : list of int
        Observations to leave out.
    retries : int
        How often a task is tried again after a fault that may pass.
    timeout : Quantity
        How long one task may take.
    memory_limit : str, optional
        Of a worker, e.g. ``4 GB``.
    group_by : GroupByConfig or str, optional
        Stack in groups, by a column of the observation table, or by zenith, offset or time.
    invalid_response : {"refuse", "zero"}
        What NaN in a response means: the observation fails, or the value counts as 0.
    write_observations : bool
        Whether the dataset of each observation is kept.
    """

    run: PathType | None = None
    workers: Annotated[int, Field(ge=1)] | None = None
    scheduler: str | None = None
    fan_in: Annotated[int, Field(ge=2)] = 8
    allow_failed: int | str = 0
    exclude: list[int] = Field(default=[])
    retries: Annotated[int, Field(ge=0)] = 2
    timeout: DurationType = u.Quantity("1 h")
    memory_limit: str | None = None
    group_by: GroupByConfig | None = None
    invalid_response: Literal["refuse", "zero"] = "refuse"
    write_observations: bool = True

    unordered: ClassVar[frozenset[str]] = frozenset({"exclude"})

    @field_validator("allow_failed", mode="before")
    @classmethod
    def _number_or_percent(cls, value: Any) -> int | str:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        if isinstance(value, str):
            match = _PERCENT.match(value)
            if match and float(match.group(1)) <= 100:
                return f"{match.group(1)}%"
        raise ValueError("a number of observations, or a share such as '5%', is needed")

    @field_validator("memory_limit")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None and not _MEMORY.match(value):
            raise ValueError("a size is needed: write e.g. '4 GB' or '512 MiB'")
        return value

    @field_validator("group_by", mode="before")
    @classmethod
    def _column(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_cluster(self) -> FlowConfig:
        if self.workers is not None and self.scheduler is not None:
            raise ValueError("workers starts a cluster, scheduler uses one that runs: give one of them")
        return self

    def failures_allowed(self, n_observations: int) -> int:
        """How many of a number of observations may fail; a share is rounded down."""
        if isinstance(self.allow_failed, int):
            return self.allow_failed
        # round first: 7 % of 100 is 7.000000000000001 in floats, but could as well be 6.9999
        return int(round(float(self.allow_failed[:-1]) * n_observations / 100.0, 9))

    @property
    def memory_bytes(self) -> int | None:
        """The memory limit in bytes."""
        if self.memory_limit is None:
            return None
        match = _MEMORY.match(self.memory_limit)
        assert match is not None, self.memory_limit  # checked when it was set
        return int(float(match.group(1)) * _BYTES[(match.group(2) or "").lower()])
