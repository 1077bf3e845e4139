"""Receipts: the proof that a node of the plan is done, written last.

A receipt names the key of the node, what was written and how it can be recognised, and what a person may want
to know later: inputs, versions, machine, time, warnings. A failure leaves a record of the same kind.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from gammaflow.dag import atomic

FORMAT = 1
"""Version of the JSON layout of receipts and failure records."""


@dataclass(frozen=True, slots=True)
class DatasetNumbers:
    """The numbers that sum up one dataset.

    Parameters
    ----------
    name : str
        Name of the dataset.
    counts, background, excess : float
        Sums inside the safe mask.
    exposure_min, exposure_max : float
        m2 s; NaN where there is none.
    livetime, ontime : float
        s.
    n_bins, n_fit_bins : int
        All bins, and those inside the mask of a fit.
    """

    name: str
    counts: float = math.nan
    background: float = math.nan
    excess: float = math.nan
    exposure_min: float = math.nan
    exposure_max: float = math.nan
    livetime: float = math.nan
    ontime: float = math.nan
    n_bins: int = 0
    n_fit_bins: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one finished node left.

    Parameters
    ----------
    stage : str
        ``reduce``, ``stack`` or ``finish``.
    name : str
        The observation id, the key of a partial stack, or the name of a stacked dataset.
    key : str
        Digest of everything the result depends on.
    group : str
        The Zarr group written, relative to the run folder; empty if none.
    arrays : dict of str to str
        Digest of each array's values.
    size, files : int
        Bytes and number of files of the group.
    dropped : bool
        The group was removed when nothing needed it any more: see ``flow.write_observations``.
    box : tuple of int
        The part of the whole map that the result covers, see `gammaflow.datasets.Box`: y, x, y_irf,
        x_irf, first and last + 1 each. Empty if unknown, or if nothing was observed.
    summary : DatasetNumbers or None
        The numbers a person asks for first.
    ingredients : dict of str to str
        Short digests of what the key is made of, so that a later run can say which of them changed.
    inputs : tuple of (name, size, mtime_ns)
        The files read.
    versions : dict of str to str
        Of the packages that computed.
    host, worker : str
        Where it ran.
    started : str
        UTC, ISO 8601.
    seconds : float
        Wall time of the task.
    attempt : int
        1 unless it was retried.
    warnings : tuple of str
        What the makers warned of, each text once.
    """

    stage: str
    name: str
    key: str
    group: str = ""
    arrays: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    files: int = 0
    dropped: bool = False
    box: tuple[int, ...] = ()
    summary: DatasetNumbers | None = None
    ingredients: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[tuple[str, int, int], ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    worker: str = ""
    started: str = ""
    seconds: float = 0.0
    attempt: int = 1
    warnings: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Strict JSON; NaN is written as null."""
        return _dump(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read back what ``to_json`` wrote.

        Raises
        ------
        ValueError
            The text is not a receipt of this layout.
        """
        values = _load(text, cls)
        values["inputs"] = tuple((name, size, mtime) for name, size, mtime in values["inputs"])
        values["warnings"] = tuple(values["warnings"])
        values["box"] = tuple(values["box"])
        if values["summary"] is not None:
            numbers: dict[str, Any] = {
                key: math.nan if item is None else item for key, item in values["summary"].items()
            }
            values["summary"] = DatasetNumbers(**numbers)
        return cls(**values)


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """Why one node could not be done.

    Parameters
    ----------
    stage, name, key : str
        As in a receipt.
    error : str
        Class of the error.
    message : str
        What was found.
    where, hint : str
        The file, HDU or observation; what to do.
    traceback : str
        For whoever debugs it.
    attempt : int
        The attempt that gave up.
    host, worker : str
        Where it ran, if known.
    when : str
        UTC, ISO 8601.
    """

    stage: str
    name: str
    key: str
    error: str
    message: str
    where: str = ""
    hint: str = ""
    traceback: str = ""
    attempt: int = 1
    host: str = ""
    worker: str = ""
    when: str = ""

    @property
    def reason(self) -> str:
        """What happened and where, for a list that names the observation."""
        where = self.where.removeprefix(f"observation {self.name}").removeprefix(": ")
        return f"{self.error}: {where}: {self.message}" if where else f"{self.error}: {self.message}"

    def to_json(self) -> str:
        """Strict JSON."""
        return _dump(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read back what ``to_json`` wrote.

        Raises
        ------
        ValueError
            The text is not a failure record of this layout.
        """
        return cls(**_load(text, cls))


def write_receipt(path: Path, receipt: Receipt) -> Receipt:
    """Commit a receipt: the receipt that stands afterwards.

    Of two attempts with the same key the first to commit wins, and the second takes over its receipt:
    both wrote the same arrays. A receipt with another key is replaced.
    """
    text = receipt.to_json()
    if atomic.create(path, text):
        return receipt
    standing = read_receipt(path)
    if standing is not None and standing.key == receipt.key and standing.arrays == receipt.arrays:
        return standing
    atomic.write(path, text)
    return receipt


def read_receipt(path: Path) -> Receipt | None:
    """The receipt in a file; None if there is none, or one that cannot be read (it then proves nothing)."""
    try:
        return Receipt.from_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def read_failure(path: Path) -> FailureRecord | None:
    """The failure record in a file; None if there is none, or one that cannot be read."""
    try:
        return FailureRecord.from_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _dump(record: Receipt | FailureRecord) -> str:
    values: dict[str, Any] = {"format": FORMAT}
    for item in dataclasses.fields(record):  # asdict would copy every digest
        value = getattr(record, item.name)
        if isinstance(value, DatasetNumbers):
            numbers = dataclasses.asdict(value).items()
            # JSON has no text for NaN and infinities.
            value = {key: None if isinstance(x, float) and not math.isfinite(x) else x for key, x in numbers}
        values[item.name] = dict(value) if isinstance(value, Mapping) else value
    return json.dumps(values, indent=1, allow_nan=False) + "\n"


def _load(text: str, cls: type) -> dict[str, Any]:
    values = json.loads(text)
    names = {item.name for item in dataclasses.fields(cls)}
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT or set(values) != names:
        raise ValueError(f"not a {cls.__name__} of format {FORMAT}")
    return values
