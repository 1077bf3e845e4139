"""``RUN/fits/<name>/``: what a fit leaves, as files that people, scripts and Gammapy read.

::

    RUN/fits/<name>/models.yaml              with the fitted values, in Gammapy's YAML
    RUN/fits/<name>/models_covariance.dat    their covariance, beside it
    RUN/fits/<name>/result.json              parameters, statistic, how it converged, what went in

The folder appears as a whole, or not at all.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self

from gammaflow.dag.fit_datasets import StoredDataset
from gammaflow.dag.run_folder import RunFolder
from gammaflow.errors import ConfigError, RunError
from gammaflow.fit import FitResult, Interval
from gammaflow.io.folders import LocalFolders
from gammaflow.modeling import Models

FORMAT = 1
"""Version of the layout of ``result.json``."""

RESULT: Final = "result.json"
MODELS: Final = "models.yaml"

MOST_IN_COVARIANCE_FILE = 1000
"""More parameters than this have their covariance in ``result.json`` alone (that of the shared ones, and the errors
of all): the table of text, which grows with their square, would be larger than the datasets."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True, slots=True)
class ParameterRecord:
    """A parameter after a fit.

    Parameters
    ----------
    name : str
        ``model.spectral.index``; of a linked parameter its first place.
    value, error : float
        In ``unit``; the error is NaN where there is none, 0 for a frozen parameter.
    unit : str
        In FITS notation.
    min, max : float
        Limits; NaN where there is none.
    frozen : bool
        Whether the fit left it alone.
    at_limit : int
        -1 at the lower, 1 at the upper limit, 0 between.
    dataset : str
        The dataset that it is local to, empty for a shared one.
    minos : mapping or None
        ``errn`` and ``errp``, both positive, with ``success`` and ``message``, if asked for.
    """

    name: str
    value: float
    error: float
    unit: str = ""
    min: float = math.nan
    max: float = math.nan
    frozen: bool = False
    at_limit: int = 0
    dataset: str = ""
    minos: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FitRecord:
    """What ``result.json`` holds.

    Parameters
    ----------
    name : str
        Of the fit.
    datasets : str
        ``stacked`` or ``joint``.
    started : str
        UTC, ISO 8601.
    seconds : float
        Wall time of the fit, MINOS included.
    backend, method : str
        How the minimum was looked for.
    converged : bool
    message : str
        How that was decided.
    total_stat : float
        Statistic, priors included.
    stat_per_dataset : mapping of str to float
    edm : float
        Estimated distance to the minimum.
    trips, evaluations, anchors : int
        Requests sent to the datasets, points in them, how often the datasets were condensed.
    parameters : tuple of ParameterRecord
        All parameters, each once.
    covariance : mapping or None
        ``names`` and ``matrix`` of the shared parameters.
    covariance_file : str
        Name of the file beside the models that holds that of all parameters; empty if there is none.
    energy_range : tuple of float
        What takes part, TeV; NaN where there is no limit.
    degenerate : tuple of tuple of str
        Parameters that the data do not determine.
    warnings : tuple of str
    trace : tuple of mapping
        ``trip``, ``stat``, ``edm``, ``accepted``, ``radius`` of each step.
    timings : mapping of str to float
        Parts of the time, s.
    evaluator : str
        Where the datasets were.
    inputs : mapping of str to mapping
        Of each dataset its ``group`` and the content ``key`` of its receipt.
    versions : mapping of str to str
        Of what computed.
    """

    name: str
    datasets: str
    started: str
    seconds: float
    backend: str
    method: str
    converged: bool
    message: str
    total_stat: float
    stat_per_dataset: Mapping[str, float]
    edm: float
    trips: int
    evaluations: int
    anchors: int
    parameters: tuple[ParameterRecord, ...]
    covariance: Mapping[str, Any] | None
    covariance_file: str = ""
    energy_range: tuple[float, float] = (math.nan, math.nan)
    degenerate: tuple[tuple[str, ...], ...] = ()
    warnings: tuple[str, ...] = ()
    trace: tuple[Mapping[str, Any], ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    evaluator: str = ""
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def shared(self) -> tuple[ParameterRecord, ...]:
        """The free parameters that belong to no single dataset."""
        return tuple(p for p in self.parameters if not p.frozen and not p.dataset)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not finite is None."""
        plain: dict[str, Any] = _plain({"format": FORMAT, **asdict(self)})
        return plain

    def to_json(self) -> str:
        """Strict JSON."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read back what `to_json` wrote.

        Raises
        ------
        ValueError
            The text is no result of this layout.
        """
        values = json.loads(text)
        names = {item.name for item in fields(cls)}
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT or set(values) != names:
            raise ValueError(f"not a fit result of format {FORMAT}")
        low, high = (_number(limit) for limit in values["energy_range"])
        return cls(
            **{
                **values,
                "total_stat": _number(values["total_stat"]),
                "edm": _number(values["edm"]),
                "stat_per_dataset": {k: _number(v) for k, v in values["stat_per_dataset"].items()},
                "parameters": tuple(
                    ParameterRecord(**{**p, **{key: _number(p[key]) for key in ("error", "min", "max")}})
                    for p in values["parameters"]
                ),
                "energy_range": (low, high),
                "degenerate": tuple(tuple(group) for group in values["degenerate"]),
                "warnings": tuple(values["warnings"]),
                "trace": tuple(values["trace"]),
            }
        )


def parameter_records(result: FitResult, intervals: Mapping[str, Interval]) -> Iterator[ParameterRecord]:
    """Every parameter of the models once, frozen ones too."""
    fitted = {parameter.name: parameter for parameter in result.fitted}
    seen: set[int] = set()
    models = result.models
    for parameter, name in zip(models.parameters, models.parameter_names, strict=True):
        if id(parameter) in seen:  # linked: shown in its first place
            continue
        seen.add(id(parameter))
        found = fitted.get(name)
        minos = intervals.get(name)
        low, high = parameter.bounds
        yield ParameterRecord(
            name=name,
            value=float(parameter.value),
            error=found.error if found is not None else 0.0,
            unit=parameter.unit.to_string("fits"),
            min=low if math.isfinite(low) else math.nan,
            max=high if math.isfinite(high) else math.nan,
            frozen=found is None,
            at_limit=found.at_limit if found is not None else 0,
            dataset=found.dataset if found is not None else "",
            minos=None
            if minos is None
            else {
                "errn": minos.errn,
                "errp": minos.errp,
                "success": minos.success,
                "message": minos.message,
            },
        )


def checked_name(name: str) -> str:
    """The name, if a folder can bear it.

    Raises
    ------
    ConfigError
        It cannot.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a fit",
            where="--name",
            hint="Use letters, digits and any of _ . + -, beginning with a letter or digit",
        )
    return name


def free_name(folder: RunFolder, name: str, overwrite: bool, keys: Mapping[str, str]) -> str:
    """The name of a fit, if it may be used: a fit of datasets that have changed since makes room for a new one.

    Parameters
    ----------
    folder : RunFolder
    name : str
    overwrite : bool
        Whether any fit of the name may be replaced.
    keys : mapping of str to str
        See `is_current`.

    Raises
    ------
    ConfigError
        It cannot be the name of a folder.
    RunError
        There is a fit of this name, and it is not to be replaced.
    """
    checked_name(name)
    if not overwrite and any(is_current(record, keys) for record in read_fits(folder) if record.name == name):
        raise RunError(
            f"there is a fit {name!r} of these datasets already",
            where=str(folder.fits / name),
            hint="Give this one another name (--name, name=), or replace it: --overwrite, overwrite=True",
        )
    return name


def write_fit(folder: RunFolder, record: FitRecord, models: Models) -> Path:
    """Write a fit's folder, in the place of one of the same name (see `free_name`); the path of the folder.

    Raises
    ------
    StorageError
        No space, no permission.
    """
    path = folder.fits / record.name
    with tempfile.TemporaryDirectory(prefix="gammaflow-fit-") as scratch:
        models.write(Path(scratch) / MODELS, write_covariance=bool(record.covariance_file))
        files = {file.name: memoryview(file.read_bytes()) for file in sorted(Path(scratch).iterdir())}
    files[RESULT] = memoryview(record.to_json().encode())
    LocalFolders().put(path, files, overwrite=True)
    return path


def covariance_file(models: Models) -> str:
    """Name of the covariance file that `write_fit` writes beside the models; empty if there are too many parameters."""
    stem = MODELS.partition(".")[0]
    return f"{stem}_covariance.dat" if 0 < len(models.parameters) <= MOST_IN_COVARIANCE_FILE else ""


def read_fits(folder: RunFolder) -> tuple[FitRecord, ...]:
    """The fits of a run, by name; a folder without a result that can be read is passed over."""
    found = []
    for path in sorted(folder.fits.glob(f"*/{RESULT}")):
        if path.parent.name.startswith("."):
            continue  # being written
        try:
            found.append(FitRecord.from_json(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, KeyError):
            continue
    return tuple(found)


def is_current(record: FitRecord, keys: Mapping[str, str]) -> bool:
    """Whether the datasets of a fit are still those of the run.

    Parameters
    ----------
    record : FitRecord
    keys : mapping of str to str
        Group, relative to the run folder, to the content key of its receipt, of all datasets of the run.
    """
    return all(keys.get(item["group"]) == item["key"] for item in record.inputs.values())


def inputs_of(folder: RunFolder, datasets: tuple[StoredDataset, ...]) -> dict[str, dict[str, str]]:
    """What a record says about the datasets that went in."""
    return {
        dataset.name: {"group": dataset.path.relative_to(folder.path).as_posix(), "key": dataset.key}
        for dataset in datasets
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
