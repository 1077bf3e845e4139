"""What happens during a fit, as events like those of a run."""

from __future__ import annotations

from dataclasses import dataclass

from gammaflow.dag.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class FitStarted(Event):
    """A fit begins: its name, how many datasets, which backend, where it runs."""

    name: str
    datasets: int
    backend: str
    evaluator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FitStep(Event):
    """A trip to the datasets is done; what is not finite is None.

    Parameters
    ----------
    name : str
        Of the fit.
    trip : int
        How many requests have been sent.
    stat : float or None
        Lowest statistic so far.
    edm : float or None
        Estimated distance to the minimum.
    accepted : bool
        Whether the last step was taken.
    """

    name: str
    trip: int
    stat: float | None
    edm: float | None
    accepted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FitFinished(Event):
    """A fit ended: ``converged``, ``not converged`` or ``failed``, and how that was decided."""

    name: str
    status: str
    message: str
    trips: int
    seconds: float
