"""Datasets whose likelihood is a few lines of numpy behind the protocol, and the minimum by brute force.

mu_b = norm B_b (E_b / TeV)^-tilt + sum_k T_bk S_k,     f = 2 sum_b (mu_b - n_b ln mu_b)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.fit import FullCheck, Problem
from gammaflow.likelihood import AnchorCheck, CondensedInfo, Layout, NuisanceState, Reply, Request
from gammaflow.likelihood.protocol import pack
from gammaflow.likelihood.sums import total
from gammaflow.modeling import (
    ExpCutoffPowerLawSpectralModel,
    FoVBackgroundModel,
    Models,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    SkyModel,
)

Floats = NDArray[np.float64]
EDGES = np.geomspace(0.1, 30.0, 17)
CENTERS = np.sqrt(EDGES[1:] * EDGES[:-1])


def source(name: str = "toy", **values: Any) -> SkyModel:
    """A source with an exponential cutoff whose position is frozen."""
    given = {"amplitude": "1e-12 cm-2 s-1 TeV-1", "index": 2.3, "lambda_": "0.1 TeV-1", **values}
    model = SkyModel(ExpCutoffPowerLawSpectralModel(**given), PointSpatialModel(), name=name)
    model.spatial_model.freeze()
    return model


def background(name: str, tilt: bool = False) -> FoVBackgroundModel:
    """Norm, perhaps tilt."""
    spectral = PowerLawNormSpectralModel()
    spectral.tilt.frozen = not tilt
    return FoVBackgroundModel(spectral, dataset_name=name)


@dataclass(eq=False)
class ToyDataset:
    """One dataset: 8 energies of 144 pixels, 16 true energies."""

    name: str
    response: Floats  # (nb, K), counts per flux
    background: Floats  # (nb,)
    energy: Floats  # (nb,) TeV
    counts: Floats
    models: Any = None
    geometry: Any = field(
        default_factory=lambda: SimpleNamespace(energy_axis_true=SimpleNamespace(edges=EDGES))
    )

    @classmethod
    def simulate(
        cls, name: str, seed: int, truth: SkyModel, norm: float = 1.0, exposure: float = 1.0
    ) -> ToyDataset:
        """Some 670 counts."""
        rng = np.random.default_rng(seed)
        n_energy, n_pixel = 8, 144
        reconstructed = np.geomspace(0.15, 25.0, n_energy)
        spread = np.exp(-0.5 * (np.log(reconstructed[:, None] / CENTERS) / 0.25) ** 2)
        spread /= spread.sum(axis=0)
        offsets = np.linspace(-5.5, 5.5, 12)
        width = 1.0 + 2.0 / (1.0 + CENTERS)
        image = np.exp(-0.5 * (offsets[:, None, None] ** 2 + offsets[None, :, None] ** 2) / width**2)
        image = (image / image.sum(axis=(0, 1))).reshape(n_pixel, -1)
        area = exposure * 1.2e9 * (1 + 0.2 * rng.random()) * CENTERS**0.4 * 1e4 / 1e4
        response = (spread[:, None, :] * image[None, :, :] * area).reshape(n_energy * n_pixel, -1)
        level = 400.0 * (1 + 0.2 * rng.random()) * reconstructed**-1.7 / (reconstructed**-1.7).sum()
        expected_background = np.repeat(level / n_pixel, n_pixel)
        fluxes = truth.spectral_model.integral_values(EDGES)
        counts = rng.poisson(norm * expected_background + response @ fluxes).astype(np.float64)
        return cls(name, response, expected_background, np.repeat(reconstructed, n_pixel), counts)


@dataclass(eq=False)
class ToyCondensed:
    """The same as the protocol wants it; its own parameters are found by plain Newton steps."""

    data: ToyDataset
    layout: Layout
    model: FoVBackgroundModel | None
    sources: tuple[str, ...]
    fixed: Floats

    def __post_init__(self) -> None:
        free = [] if self.model is None else list(self.model.parameters.free_unique_parameters)
        shared = [self.layout.nuisance_index(self.data.name, p.name) for p in free]
        self.names = tuple(p.name for p, place in zip(free, shared, strict=True) if place is None)
        self.bounds = np.array(
            [p.bounds for p, place in zip(free, shared, strict=True) if place is None]
        ).reshape(-1, 2)
        self.priors = [p.prior for p, place in zip(free, shared, strict=True) if place is None]
        self.start = np.array([p.value for p, place in zip(free, shared, strict=True) if place is None])
        self.shared = {p.name: place for p, place in zip(free, shared, strict=True) if place is not None}
        flux = [
            range(s.start, s.stop)
            for name in self.sources
            if (s := self.layout.flux_slice(name, EDGES)) is not None
        ]
        self.flux = np.array([i for part in flux for i in part], dtype=np.intp)
        self.index = np.array(sorted([*self.flux.tolist(), *self.shared.values()]), dtype=np.intp)

    def _factor(
        self, own: Floats, point: Floats
    ) -> tuple[Floats, dict[str, Floats], dict[tuple[str, str], Floats]]:
        values = {"norm": 1.0, "tilt": 0.0}
        if self.model is not None:
            values = {name: self.model.parameters[name].value for name in ("norm", "tilt")}
        values |= {name: point[place] for name, place in self.shared.items()}
        values |= dict(zip(self.names, own, strict=True))
        log = np.log(self.data.energy)
        shape = self.data.background * np.exp(-values["tilt"] * log)
        mu = values["norm"] * shape
        first = {"norm": shape, "tilt": -log * mu}
        second = {("norm", "norm"): 0 * mu, ("norm", "tilt"): -log * shape, ("tilt", "tilt"): log**2 * mu}
        second["tilt", "norm"] = second["norm", "tilt"]
        return mu, first, second

    def _inner(self, own: Floats, point: Floats) -> tuple[float, Floats, Floats, Floats]:
        """Statistic (own priors included), gradient and Hessian by own and shared ones, prediction."""
        background, first, second = self._factor(own, point)
        signal = sum(
            (
                self.data.response @ point[self.layout.flux_slice(name, EDGES)]
                for name in self.sources
                if len(self.flux)
            ),
            start=self.fixed,
        )
        mu, n = background + signal, self.data.counts
        names = (*self.names, *self.shared)
        gradient, hessian = np.zeros(len(names)), np.zeros((len(names), len(names)))
        if (mu[n > 0] <= 0).any():
            return np.inf, gradient, hessian, mu
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(n > 0, n / mu, 0.0)
            bend = np.where(n > 0, 2 * n / mu**2, 0.0)
            value = 2 * float(mu.sum() - (n[n > 0] * np.log(mu[n > 0])).sum())
        for i, a in enumerate(names):
            gradient[i] = 2 * (first[a] * (1 - ratio)).sum()
            for j, b in enumerate(names):
                hessian[i, j] = (first[a] * bend * first[b]).sum() + 2 * (second[a, b] * (1 - ratio)).sum()
        for i, prior in enumerate(self.priors):
            if prior is not None:
                term, d1, d2 = prior.derivatives(float(own[i]))
                value, gradient[i], hessian[i, i] = value + term, gradient[i] + d1, hessian[i, i] + d2
        return value, gradient, hessian, mu

    def profiled(self, point: Floats) -> tuple[Floats, NDArray[np.intp]]:
        """Own parameters at a point, and -1, 0, 1 for those at a limit."""
        own, p = self.start.copy(), len(self.names)
        for _ in range(100):
            value, gradient, hessian, _ = self._inner(own, point)
            g, h = gradient[:p], hessian[:p, :p]
            pressed = ((own <= self.bounds[:, 0]) & (g > 0)) | ((own >= self.bounds[:, 1]) & (g < 0))
            free = np.flatnonzero(~pressed)
            if not np.isfinite(value) or not len(free):
                break
            step = np.zeros(p)
            step[free] = -np.linalg.solve(h[np.ix_(free, free)], g[free])
            if -0.5 * float(g @ step) < 1e-18:
                break
            scale = 1.0
            while scale > 1e-12:
                trial = np.clip(own + scale * step, self.bounds[:, 0], self.bounds[:, 1])
                if self._inner(trial, point)[0] <= value + 1e-12:
                    break
                scale *= 0.5
            own = trial
        g = self._inner(own, point)[1][:p]
        low, high = (own <= self.bounds[:, 0]) & (g > 0), (own >= self.bounds[:, 1]) & (g < 0)
        return own, high.astype(np.intp) - low.astype(np.intp)

    def _blocks(self, point: Floats) -> tuple[float, Floats, Floats, Floats, Floats, NDArray[np.intp]]:
        """Statistic, gradient and Hessian by shared coordinates, cross (n, p), own Hessian (p, p), limits."""
        own, at_limit = self.profiled(point)
        value, gradient, hessian, mu = self._inner(own, point)
        p, n = len(self.names), len(self.index)
        jacobian = np.zeros((len(mu), n))
        for name in self.sources:
            place = self.layout.flux_slice(name, EDGES)
            if place is not None:
                columns = np.searchsorted(self.index, range(place.start, place.stop))
                jacobian[:, columns] = self.data.response
        _, first, _ = self._factor(own, point)
        spots = [int(np.searchsorted(self.index, place)) for place in self.shared.values()]
        counts = self.data.counts
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(counts > 0, counts / mu, 0.0)
            bend = np.where(counts > 0, 2 * counts / mu**2, 0.0)
        g = 2 * jacobian.T @ (1 - ratio)
        h = jacobian.T @ (bend[:, None] * jacobian)
        cross = (
            np.stack([jacobian.T @ (bend * first[name]) for name in self.names], axis=1)
            if p
            else np.zeros((n, 0))
        )
        for i, (name, spot) in enumerate(zip(self.shared, spots, strict=True)):
            g[spot] = gradient[p + i]
            h[spot] = h[:, spot] = jacobian.T @ (bend * first[name])
            cross[spot] = hessian[p + i, :p]
        for i, a in enumerate(spots):
            for j, b in enumerate(spots):
                h[a, b] = hessian[p + i, p + j]
        return value, g, h, cross, hessian[:p, :p], at_limit

    def evaluate(self, request: Request) -> Reply:
        points, n = len(request.points), len(self.index)
        reply = {
            "variable": np.zeros(points),
            "gradient": np.zeros((points, n)),
            "square": np.zeros((points, n * (n + 1) // 2)),
        }
        invalid = np.zeros(points, dtype=np.intp)
        for i, point in enumerate(request.points):
            value, g, h, cross, inner, at_limit = self._blocks(point)
            reply["variable"][i] = value
            if not np.isfinite(value):
                invalid[i] = 1
                continue
            free = np.flatnonzero(at_limit == 0)
            if len(free):
                c = cross[:, free]
                h = h - c @ np.linalg.solve(inner[np.ix_(free, free)], c.T)
            reply["gradient"][i], reply["square"][i] = g, pack(h)
        return Reply(
            index=self.index,
            constant=0.0,
            variable=reply["variable"],
            gradient=reply["gradient"] if request.order else np.zeros((points, 0)),
            gauss_newton=reply["square"] if request.order == 2 else np.zeros((points, 0)),
            spatial=np.zeros(0, dtype=np.intp),
            second_order=np.zeros((points, 0, n)),
            invalid=invalid,
            at_limit=np.zeros(points, dtype=np.intp),
            empty_gradient=np.tile(self._empty(), (points, 1)),
        )

    def full_check(self, models: Models) -> FullCheck:
        fluxes = sum(models[name].spectral_model.integral_values(EDGES) for name in self.sources)
        factor = models.background_models[self.data.name].evaluate(self.data.energy)
        mu = factor * self.data.background + self.data.response @ fluxes + self.fixed
        counts, positive = self.data.counts, np.maximum(mu, 1e-25)
        stat = 2 * float(positive.sum() - (counts * np.log(positive)).sum())
        return FullCheck(self.data.name, stat, int((mu < 0).sum()), int(((mu < 0) & (counts > 0)).sum()))

    def _empty(self) -> Floats:
        out = np.zeros(len(self.index))
        if len(self.flux):
            each = np.tile(2 * self.data.response.sum(axis=0), len(self.flux) // self.data.response.shape[1])
            out[np.searchsorted(self.index, self.flux)] = each
        return out

    def nuisances(self, point: Floats) -> tuple[NuisanceState, ...]:
        own, _ = self.profiled(point)
        value, _, _, cross, inner, at_limit = self._blocks(point)
        p, free = len(self.names), np.flatnonzero(at_limit == 0)
        inverse, response = np.zeros((p, p)), np.zeros((p, len(self.index)))
        if len(free):
            inverse[np.ix_(free, free)] = np.linalg.inv(inner[np.ix_(free, free)])
            response[free] = -inverse[np.ix_(free, free)] @ cross[:, free].T
        return (
            NuisanceState(
                self.data.name,
                value,
                self.names,
                own,
                inverse,
                self.index,
                response,
                at_limit,
                np.zeros(p, dtype=np.bool_),
            ),
        )


class ToyEvaluator:
    """In the place of `LocalEvaluator`; counts what it is asked."""

    def __init__(self, problem: Problem, options: Any = None) -> None:
        self.requests: list[Request] = []
        self.largest_reply = 0
        self.condensed = []
        for data in problem.datasets:
            models = problem.models_of(data)
            own = next((m for m in models if isinstance(m, FoVBackgroundModel)), None)
            sources = [m for m in models if isinstance(m, SkyModel)]
            fixed = np.zeros(len(EDGES) - 1)
            for model in sources:
                if problem.layout.flux_slice(model.name, EDGES) is None:
                    fixed = fixed + model.spectral_model.integral_values(EDGES)
            names = tuple(m.name for m in sources if problem.layout.flux_slice(m.name, EDGES) is not None)
            self.condensed.append(ToyCondensed(data, problem.layout, own, names, data.response @ fixed))

    def evaluate(self, request: Request) -> Reply:
        self.requests.append(request)
        reply = total([one.evaluate(request) for one in self.condensed])
        self.largest_reply = max(self.largest_reply, reply.nbytes // len(request.points))
        return reply

    def nuisances(self, point: Floats) -> tuple[NuisanceState, ...]:
        return tuple(state for one in self.condensed for state in one.nuisances(point))

    def check(self, point: Floats) -> tuple[AnchorCheck, ...]:
        return ()

    def info(self) -> tuple[CondensedInfo, ...]:
        return tuple(
            CondensedInfo(one.data.name, len(one.data.counts), len(one.data.counts), 0, 0)
            for one in self.condensed
        )

    def full_check(self, problem: Problem) -> tuple[FullCheck, ...]:
        return tuple(one.full_check(problem.models) for one in self.condensed)

    def close(self) -> None:
        """Nothing to let go of."""


def toy_problem(n: int, seed: int = 0, tilt: bool = False) -> tuple[list[ToyDataset], Models]:
    """Datasets simulated from the truth (1e-12, 2.3, 0.1), and models at a usual start."""
    datasets = [
        ToyDataset.simulate(f"run-{i}", 1000 * seed + i, source(), norm=0.9 + 0.02 * (i % 10))
        for i in range(n)
    ]
    start = source(amplitude="0.5e-12 cm-2 s-1 TeV-1", index=2.8, lambda_="0.02 TeV-1")
    return datasets, Models([start, *(background(d.name, tilt) for d in datasets)])


def brute_force(datasets: Sequence[ToyDataset], models: Models) -> tuple[Floats, Floats, float]:
    """Values and covariance of (amplitude, index, lambda, norms ...), and the statistic, by dense Newton steps.

    Norms only; every free parameter unlinked and without limits or priors.
    """
    spectrum = models["toy"].spectral_model.copy()
    free = [spectrum.amplitude, spectrum.index, spectrum.lambda_]
    rows = [list(spectrum.parameters.names).index(p.name) for p in free]
    scale = np.array([1e-12, 1.0, 0.1, *([1.0] * len(datasets))])
    x = np.array([*(p.value for p in free), *([1.0] * len(datasets))]) / scale

    def all_of(x: Floats) -> tuple[float, Floats, Floats]:
        for p, value in zip(free, x * scale, strict=False):
            p.value = float(value)
        s, ds = spectrum.integral_and_gradient(EDGES)
        d2s = spectrum.integral_hessian(EDGES)[np.ix_(rows, rows)]
        ds = ds[rows]
        m = len(x)
        value, gradient, hessian = 0.0, np.zeros(m), np.zeros((m, m))
        for i, d in enumerate(datasets):
            mu = x[3 + i] * d.background + d.response @ s
            if (mu <= 0).any():
                return np.inf, gradient, hessian
            value += 2 * float(mu.sum() - (d.counts * np.log(mu)).sum())
            jac = np.zeros((len(mu), m))
            jac[:, :3] = (d.response @ ds.T) * scale[:3]
            jac[:, 3 + i] = d.background
            score = 2 * (1 - d.counts / mu)
            gradient += jac.T @ score
            hessian += jac.T @ ((2 * d.counts / mu**2)[:, None] * jac)
            hessian[:3, :3] += np.tensordot(d2s, d.response.T @ score, axes=(2, 0)) * np.outer(
                scale[:3], scale[:3]
            )
        return value, gradient, hessian

    value, gradient, hessian = all_of(x)
    for _ in range(200):
        values, vectors = np.linalg.eigh(hessian)
        step = -vectors @ ((vectors.T @ gradient) / np.abs(values))
        if -0.5 * float(gradient @ step) < 1e-20:
            break
        size = 1.0
        while size > 1e-10:
            found = all_of(x + size * step)
            if found[0] < value + 1e-9:
                break
            size *= 0.5
        x = x + size * step
        value, gradient, hessian = found
    covariance = 2 * np.linalg.inv(hessian) * np.outer(scale, scale)
    return x * scale, covariance, value
