"""What a fit gives back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.fit.covariance import FitCovariance
from gammaflow.fit.evaluator import FullCheck
from gammaflow.modeling import Models, Parameters

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FitProgress:
    """Where a fit stands after a trip.

    Parameters
    ----------
    trip : int
        How many requests have been sent to the datasets.
    stat : float
        Lowest fit statistic so far.
    edm : float
        Estimated distance to the minimum, in units of the statistic; infinite far away.
    accepted : bool
        Whether the last step was taken.
    radius : float
        Of the trust region, in standard deviations; NaN for another backend.
    """

    trip: int
    stat: float
    edm: float
    accepted: bool
    radius: float


@dataclass(frozen=True)
class FittedParameter:
    """One free parameter after a fit.

    Parameters
    ----------
    name : str
        ``model.spectral.index``; of a linked parameter its first place.
    value, error : float
        In ``unit``. The error is NaN where the data do not determine it, or the parameter is at a limit.
    unit : str
    min, max : float
        Limits, infinite where there is none.
    at_limit : int
        -1 at the lower, +1 at the upper limit, 0 between.
    dataset : str
        The dataset it is local to, empty for a shared one.
    """

    name: str
    value: float
    error: float
    unit: str
    min: float
    max: float
    at_limit: int = 0
    dataset: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what is infinite or NaN becomes None."""
        return {
            "name": self.name,
            "value": self.value,
            "error": _finite(self.error),
            "unit": self.unit,
            "min": _finite(self.min),
            "max": _finite(self.max),
            "at_limit": self.at_limit,
            "dataset": self.dataset or None,
        }


@dataclass(frozen=True, eq=False)
class FitResult:
    """Result of a fit.

    Parameters
    ----------
    backend, method : str
    success : bool
        Whether the minimum was found and every parameter is determined or at a limit.
    message : str
        How that was decided.
    models : Models
        With the values and errors that were found.
    fitted : tuple of FittedParameter
        The free parameters, shared ones first.
    total_stat : float
        Fit statistic, priors included.
    stat_per_dataset : mapping of str to float
        That of each dataset, with the priors on its own parameters.
    edm : float
        Estimated distance to the minimum when the search ended; a last step without a trip lowers
        it further.
    covariance : FitCovariance or None
        None when it was not asked for.
    trips : int
        Requests for the likelihood. One more fetches what the datasets found for their own parameters.
    nfev : int
        Points that they were evaluated at.
    seconds : float
        Time of the whole fit.
    timings : mapping of str to float
        Its parts, s: ``condense``, ``datasets`` (summed over workers).
    anchors : int
        How often the datasets were condensed.
    degenerate : tuple of tuple of str
        Groups of parameters of which the data determine some combination not at all.
    negative : tuple of FullCheck
        Datasets with predictions below zero at the solution.
    warnings : tuple of str
    trace : tuple of FitProgress
    minuit : object
        The Minuit object, with the backend "minuit".
    """

    backend: str
    method: str
    success: bool
    message: str
    models: Models
    fitted: tuple[FittedParameter, ...]
    total_stat: float
    stat_per_dataset: Mapping[str, float]
    edm: float
    covariance: FitCovariance | None
    trips: int
    nfev: int
    seconds: float
    timings: Mapping[str, float] = field(default_factory=dict)
    anchors: int = 1
    degenerate: tuple[tuple[str, ...], ...] = ()
    negative: tuple[FullCheck, ...] = ()
    warnings: tuple[str, ...] = ()
    trace: tuple[FitProgress, ...] = ()
    minuit: Any = None

    @property
    def parameters(self) -> Parameters:
        """All parameters of the models, with their values and errors."""
        return self.models.parameters

    @property
    def converged(self) -> bool:
        """The same as ``success``."""
        return self.success

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the free parameters."""
        return tuple(parameter.name for parameter in self.fitted)

    @property
    def values(self) -> dict[str, float]:
        """Name to value."""
        return {parameter.name: parameter.value for parameter in self.fitted}

    @property
    def errors(self) -> dict[str, float]:
        """Name to standard deviation."""
        return {parameter.name: parameter.error for parameter in self.fitted}

    @property
    def at_limit(self) -> tuple[str, ...]:
        """Names of the parameters that stand at a limit."""
        return tuple(parameter.name for parameter in self.fitted if parameter.at_limit)

    def correlation(self, names: tuple[str, ...] | None = None) -> Floats:
        """Correlation matrix of some of the free parameters, by default of the shared ones."""
        assert self.covariance is not None, "the fit was made without a covariance"
        return self.covariance.correlation(self.covariance.shared_names if names is None else names)

    def to_dict(self) -> dict[str, Any]:
        """Everything for JSON: numbers, strings, lists; what is infinite or NaN becomes None.

        The covariance is that of the shared parameters; errors are given for all.
        """
        covariance = None
        if self.covariance is not None:
            rows = [[_finite(x) for x in row] for row in self.covariance.shared.tolist()]
            covariance = {"names": list(self.covariance.shared_names), "matrix": rows}
        return {
            "backend": self.backend,
            "method": self.method,
            "success": self.success,
            "message": self.message,
            "parameters": [parameter.to_dict() for parameter in self.fitted],
            "total_stat": _finite(self.total_stat),
            "stat_per_dataset": {name: _finite(stat) for name, stat in self.stat_per_dataset.items()},
            "edm": _finite(self.edm),
            "covariance": covariance,
            "trips": self.trips,
            "nfev": self.nfev,
            "anchors": self.anchors,
            "seconds": self.seconds,
            "timings": dict(self.timings),
            "at_limit": list(self.at_limit),
            "degenerate": [list(group) for group in self.degenerate],
            "negative": [vars(check) for check in self.negative],
            "warnings": list(self.warnings),
            "trace": [
                {
                    "trip": step.trip,
                    "stat": _finite(step.stat),
                    "edm": _finite(step.edm),
                    "accepted": step.accepted,
                    "radius": _finite(step.radius),
                }
                for step in self.trace
            ],
        }

    def __str__(self) -> str:
        lines = [
            "FitResult",
            "",
            f"  backend    : {self.backend} ({self.method})",
            f"  success    : {self.success}",
            f"  message    : {self.message}",
            f"  total stat : {self.total_stat:.4f}",
            f"  datasets   : {len(self.stat_per_dataset)}",
            f"  trips      : {self.trips} ({self.nfev} evaluations, {self.seconds:.2f} s)",
            "",
        ]
        width = max((len(parameter.name) for parameter in self.fitted[:_SHOWN]), default=0)
        for parameter in self.fitted[:_SHOWN]:
            limit = {-1: "  at its lower limit", 1: "  at its upper limit"}.get(parameter.at_limit, "")
            error = (
                "undetermined"
                if math.isnan(parameter.error) and not limit
                else f"+- {parameter.error:<10.4g}"
            )
            lines.append(
                f"  {parameter.name:{width}} {parameter.value:14.8g} {error} {parameter.unit}{limit}"
            )
        if len(self.fitted) > _SHOWN:
            lines.append(f"  ... and {len(self.fitted) - _SHOWN} more")
        lines += [f"  warning: {text}" for text in self.warnings]
        return "\n".join(lines) + "\n"


_SHOWN = 40


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
