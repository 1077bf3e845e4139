"""Joint fits: the parameters of models, found from the likelihood of one or a thousand datasets.

`Fit` is what users call. It sees datasets only through an `Evaluator`, so that they may be here or
on workers.
"""

from gammaflow.fit.coordinates import Coordinates
from gammaflow.fit.covariance import FitCovariance
from gammaflow.fit.evaluator import (
    Evaluator,
    EvaluatorFactory,
    FullCheck,
    LocalEvaluator,
    full_check,
    local_evaluator,
    register_client,
)
from gammaflow.fit.fit import CovarianceResult, Fit
from gammaflow.fit.limits import Interval
from gammaflow.fit.problem import FitDataset, FitParameter, Problem
from gammaflow.fit.profiles import Contour, Scan
from gammaflow.fit.result import FitProgress, FitResult, FittedParameter
from gammaflow.fit.session import Session

__all__ = [
    "Contour",
    "Coordinates",
    "CovarianceResult",
    "Evaluator",
    "EvaluatorFactory",
    "Fit",
    "FitCovariance",
    "FitDataset",
    "FitParameter",
    "FitProgress",
    "FitResult",
    "FittedParameter",
    "FullCheck",
    "Interval",
    "LocalEvaluator",
    "Problem",
    "Scan",
    "Session",
    "full_check",
    "local_evaluator",
    "register_client",
]
