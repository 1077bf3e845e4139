"""`Fit`: datasets and models in, values, errors and statistics out."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gammaflow.errors import FitError
from gammaflow.fit import minuit, newton
from gammaflow.fit.conclusion import conclude
from gammaflow.fit.evaluator import factory_for
from gammaflow.fit.limits import Interval
from gammaflow.fit.newton import Callback, Minimum
from gammaflow.fit.problem import Problem
from gammaflow.fit.profiles import Contour, Explorer, Scan
from gammaflow.fit.result import FitResult
from gammaflow.fit.search import EDM_GOAL
from gammaflow.fit.session import Session
from gammaflow.likelihood import ImageOptions
from gammaflow.modeling import Parameter

Floats = NDArray[np.float64]
Named = Parameter | str

BACKENDS = ("newton", "minuit")


@dataclass(frozen=True, eq=False)
class CovarianceResult:
    """The covariance at the values that the models have.

    Parameters
    ----------
    matrix : array (n, n)
        Of all parameters of the models, in their order.
    success : bool
        Whether the Hessian is positive there, and every parameter is determined.
    message : str
    backend, method : str
    """

    matrix: Floats
    success: bool
    message: str
    backend: str = "newton"
    method: str = "exact Hessian"


class Fit:
    """A joint likelihood fit.

    Shared parameters are moved by the fit; the own parameters of a dataset (norm and tilt of its
    background, if no other dataset shares them) are found by the dataset itself at every step, so
    that the time grows linearly with the number of datasets and the number of steps not at all.

    Parameters
    ----------
    backend : {"newton", "minuit"}
        Newton steps within a trust region on the exact second derivatives, or MIGRAD on the same
        function as a cross-check. The covariance is exact with both.
    tolerance : float, optional
        Newton: the estimated distance to the minimum to reach, 1e-8 by default. MINUIT: its
        ``tol``, 0.1 by default.
    max_trips : int
        Newton: how many times the datasets may be asked.
    options : ImageOptions, optional
        How predicted counts are made.
    callback : callable, optional
        Is given a `FitProgress` after each trip.

    Examples
    --------
    >>> fit = Fit()
    >>> result = fit.run(datasets, models)
    >>> print(result)
    >>> fit.minos(datasets, models)
    """

    def __init__(
        self,
        backend: str = "newton",
        *,
        tolerance: float | None = None,
        max_trips: int = 60,
        options: ImageOptions | None = None,
        callback: Callback | None = None,
    ) -> None:
        if backend not in BACKENDS:
            raise FitError(f"there is no backend {backend!r}", hint=f"There are {', '.join(BACKENDS)}")
        self.backend = backend
        self.tolerance = tolerance
        self.max_trips = max_trips
        self.options = options
        self.callback = callback

    # --- the fit ---------------------------------------------------------------------------------------

    def run(self, datasets: Any, models: Any = None, client: Any = None) -> FitResult:
        """Fit, and write values, errors and covariance to the models.

        Parameters
        ----------
        datasets : dataset or sequence of datasets
        models : model or iterable of models, optional
            By default those of the datasets.
        client : optional
            Where the datasets are evaluated: a client of a kind that has been registered
            (`register_client`), or an `EvaluatorFactory`. By default in this process. The result
            has the same bits.

        Returns
        -------
        FitResult

        Raises
        ------
        FitError
            Nothing to fit, a model for a dataset that is not there, a source outside every dataset,
            every bin masked, no positive prediction where there are counts.
        ModelError
            A parameter outside its limits, a source without a spatial model.
        """
        return self._fit(datasets, models, client, errors=True)

    def optimize(self, datasets: Any, models: Any = None, client: Any = None) -> FitResult:
        """Fit without errors: values are written to the models."""
        return self._fit(datasets, models, client, errors=False)

    def covariance(self, datasets: Any, models: Any = None, client: Any = None) -> CovarianceResult:
        """Covariance at the values that the models have, written to the models; nothing is minimised but the own
        parameters of the datasets.
        """
        begin = time.perf_counter()
        with _Opened(self._session(datasets, models, client)) as session:
            minimum = self._as_it_is(session)
            result = conclude(session, minimum, self.backend, time.perf_counter() - begin)
        return CovarianceResult(result.models.covariance.data, result.success, result.message)

    def _fit(self, datasets: Any, models: Any, client: Any, errors: bool) -> FitResult:
        begin = time.perf_counter()
        with _Opened(self._session(datasets, models, client)) as session:
            minimum = self._minimise(session)
            return conclude(session, minimum, self.backend, time.perf_counter() - begin, errors)

    def _session(
        self, datasets: Any, models: Any, client: Any, promoted: Sequence[Parameter] = ()
    ) -> Session:
        return Session(Problem.of(datasets, models, promoted), factory_for(client), self.options)

    def _minimise(self, session: Session) -> Minimum:
        if not session.coordinates.size:
            return self._as_it_is(session)
        if self.backend == "minuit":
            return minuit.minimise(
                session, tolerance=0.1 if self.tolerance is None else self.tolerance, callback=self.callback
            )
        goal = EDM_GOAL if self.tolerance is None else self.tolerance
        return newton.minimise(session, goal=goal, max_trips=self.max_trips, callback=self.callback)

    def _as_it_is(self, session: Session) -> Minimum:
        """The expansion where the models stand."""
        return newton.look(session)

    # --- around the minimum ----------------------------------------------------------------------------

    def minos(
        self,
        datasets: Any,
        models: Any = None,
        parameters: Sequence[Named] | None = None,
        sigma: float = 1.0,
        client: Any = None,
    ) -> dict[str, Interval]:
        """Confidence intervals: where the profile statistic has risen by ``sigma^2``.

        Parameters
        ----------
        datasets, models, client
            As for `run`. The models stand at the minimum, or near: it is looked for first.
        parameters : sequence of Parameter or str, optional
            By default all shared ones. One that belongs to a dataset alone may be asked for, too.
        sigma : float

        Returns
        -------
        dict of str to Interval
        """
        with _Opened(self._around(datasets, models, client, parameters or ())) as session:
            explorer = self._explorer(session)
            names = self._names(session, parameters)
            if parameters is None:
                direct = session.coordinates.direct()
                names = [name for name, own in zip(names, direct, strict=True) if own]
            return explorer.intervals(names, sigma)

    def confidence(
        self, datasets: Any, parameter: Named, sigma: float = 1.0, models: Any = None, client: Any = None
    ) -> dict[str, Any]:
        """Interval of one parameter as Gammapy gives it: ``errp``, ``errn``, ``success``, ``message``, ``nfev``."""
        (interval,) = self.minos(datasets, models, [parameter], sigma, client).values()
        return {
            "errp": interval.errp,
            "errn": interval.errn,
            "success": interval.success,
            "message": interval.message,
            "nfev": interval.trips,
        }

    def profile(
        self,
        datasets: Any,
        parameter: Named,
        values: ArrayLike | None = None,
        models: Any = None,
        reoptimize: bool = True,
        client: Any = None,
    ) -> Scan:
        """The statistic along one parameter, all others at their best.

        Parameters
        ----------
        datasets, models, client
            As for `run`.
        parameter : Parameter or str
        values : array (P,), optional
            By default the parameter's ``scan_values``, made after the fit.
        reoptimize : bool
            False: other shared parameters stay; a dataset's own parameters never do.
        """
        with _Opened(self._around(datasets, models, client, [parameter])) as session:
            explorer = self._explorer(session)
            (name,) = self._names(session, [parameter])
            points = self._points(session, explorer, name, values)
            return explorer.scan([name], points[:, None], reoptimize)

    def surface(
        self,
        datasets: Any,
        x: Named,
        y: Named,
        x_values: ArrayLike | None = None,
        y_values: ArrayLike | None = None,
        models: Any = None,
        reoptimize: bool = True,
        client: Any = None,
    ) -> Scan:
        """The statistic on a grid of two parameters, y running fastest; see `profile`."""
        with _Opened(self._around(datasets, models, client, [x, y])) as session:
            explorer = self._explorer(session)
            names = self._names(session, [x, y])
            axes = [
                self._points(session, explorer, name, values)
                for name, values in zip(names, (x_values, y_values), strict=True)
            ]
            return explorer.scan(names, np.array(list(itertools.product(*axes))), reoptimize)

    def contour(
        self,
        datasets: Any,
        x: Named,
        y: Named,
        sigma: float = 1.0,
        points: int = 20,
        models: Any = None,
        client: Any = None,
    ) -> Contour:
        """The line in the plane of two parameters on which the profile statistic has risen by ``sigma^2``."""
        with _Opened(self._around(datasets, models, client, [x, y])) as session:
            first, second = self._names(session, [x, y])
            return self._explorer(session).contour(first, second, sigma, points)

    # --- Gammapy's names -------------------------------------------------------------------------------

    def stat_profile(
        self,
        datasets: Any,
        parameter: Named,
        reoptimize: bool = False,
        models: Any = None,
        client: Any = None,
    ) -> dict[str, Any]:
        """`profile` as Gammapy gives it: ``<name>_scan``, ``stat_scan``.

        A dataset's own parameters always follow, also without ``reoptimize``.
        """
        scan = self.profile(datasets, parameter, None, models, reoptimize, client)
        return {f"{scan.names[0]}_scan": scan.values[:, 0], "stat_scan": scan.stat, "fit_results": []}

    def stat_surface(
        self,
        datasets: Any,
        x: Named,
        y: Named,
        reoptimize: bool = False,
        models: Any = None,
        client: Any = None,
    ) -> dict[str, Any]:
        """`surface` as Gammapy gives it: ``<name>_scan`` of both, ``stat_scan`` (x, y)."""
        scan = self.surface(datasets, x, y, None, None, models, reoptimize, client)
        first, second = (np.unique(column) for column in scan.values.T)
        return {
            f"{scan.names[0]}_scan": first,
            f"{scan.names[1]}_scan": second,
            "stat_scan": scan.stat.reshape(len(first), len(second)),
            "fit_results": [],
        }

    def stat_contour(
        self,
        datasets: Any,
        x: Named,
        y: Named,
        numpoints: int = 10,
        sigma: float = 1.0,
        models: Any = None,
        client: Any = None,
    ) -> dict[str, Any]:
        """`contour` as Gammapy gives it: the names with the points' coordinates, and ``success``."""
        line = self.contour(datasets, x, y, sigma, numpoints, models, client)
        return {line.names[0]: line.x, line.names[1]: line.y, "success": line.success}

    # --- how -------------------------------------------------------------------------------------------

    def _around(self, datasets: Any, models: Any, client: Any, parameters: Sequence[Named]) -> Session:
        """A session in which the parameters asked about are shared ones, even if they belong to one dataset."""
        problem = Problem.of(datasets, models)
        wanted = [_find(problem, parameter) for parameter in parameters]
        local = {id(own.parameter) for own in problem.local}
        promoted = [parameter for parameter in wanted if id(parameter) in local]
        if promoted:
            problem = Problem.of(datasets, models, promoted)
        return Session(problem, factory_for(client), self.options)

    def _explorer(self, session: Session) -> Explorer:
        """At the minimum, which is looked for from where the models stand."""
        if not session.coordinates.size:
            raise FitError("there are no free shared parameters", hint="Ask about a parameter by name")
        minimum = newton.minimise(session, goal=1e-10, max_trips=self.max_trips)
        if not minimum.converged:
            raise FitError(f"there is no minimum to look around: {minimum.message}")
        return Explorer(session, minimum.theta)

    @staticmethod
    def _names(session: Session, parameters: Sequence[Named] | None) -> list[str]:
        if parameters is None:
            return list(session.coordinates.names)
        wanted = [_find(session.problem, parameter) for parameter in parameters]
        name_of = {id(own.parameter): own.name for own in session.problem.shared}
        return [name_of[id(parameter)] for parameter in wanted]

    @staticmethod
    def _points(session: Session, explorer: Explorer, name: str, values: ArrayLike | None) -> Floats:
        if values is not None:
            return np.asarray(values, dtype=np.float64).ravel()
        column = explorer.column(name)
        parameter = session.problem.shared[column].parameter.copy()
        parameter.value = float(explorer.best.theta[column])
        parameter.error = float(np.sqrt(explorer.inner[column, column]))
        return np.clip(parameter.scan_values, *parameter.bounds)


class _Opened:
    """Closes a session at the end."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> Session:
        return self._session

    def __exit__(self, *_: object) -> None:
        self._session.close()


def _find(problem: Problem, parameter: Named) -> Parameter:
    """A free parameter by itself, its full name, or the last part of that where only one has it."""
    if isinstance(parameter, Parameter):
        found = [own for own in problem.parameters if own.parameter is parameter]
    else:
        found = [own for own in problem.parameters if own.name == parameter]
        found = found or [own for own in problem.parameters if own.name.rpartition(".")[2] == parameter]
    if len(found) != 1:
        names = ", ".join(own.name for own in (found or problem.parameters)[:8])
        raise FitError(
            f"{len(found) or 'no'} free parameters are {getattr(parameter, 'name', parameter)!r}",
            hint=f"{'Choose one of' if found else 'There are'} {names}",
        )
    return found[0].parameter
