"""Events drawn by Poisson sampling through the responses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gammaflow.data.simulation.responses import ENERGY_RANGE, Responses
from gammaflow.data.simulation.schedule import ScheduledObservation
from gammaflow.data.simulation.sky import Source
from gammaflow.data.simulation.sphere import displace, from_fov, offsets, to_angles, to_fov
from gammaflow.irf import Background3D, EffectiveAreaTable2D, EnergyDependentMultiGaussPSF, EnergyDispersion2D

Floats = NDArray[np.float64]

BACKGROUND_ID = 0
_FURTHEST = 8.0  # deg: a source further away than the responses reach, with room for its extent
_N_ENERGY = 800
_CM2 = 1e4  # in a m2


@dataclass(frozen=True)
class SampledEvents:
    """Events of one observation, in order of time; angles in deg, energy in TeV.

    Attributes
    ----------
    time : array
        s after the schedule's reference.
    ra, dec, energy, detx, dety : array of float64
        ``detx`` and ``dety`` are field-of-view longitude and latitude.
    mc_id : array of int16
        0: background; i: source number i, from 1.
    """

    time: Floats
    ra: Floats
    dec: Floats
    energy: Floats
    detx: Floats
    dety: Floats
    mc_id: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.time)


class EventSampler:
    """Draws the events of observations; what all observations share is prepared once.

    Parameters
    ----------
    responses : Responses
    sources : tuple of Source
    """

    def __init__(self, responses: Responses, sources: tuple[Source, ...]) -> None:
        self.responses = responses
        self.sources = sources
        self._background = BackgroundSampler(responses.bkg)
        self._migration = MigrationSampler(responses.edisp)
        # the largest effective area of each energy: offsets are interpolated linearly, so it is at a node
        edges = np.geomspace(*ENERGY_RANGE, _N_ENERGY + 1)
        self._log_edges = np.log(edges)
        self._energy = np.sqrt(edges[1:] * edges[:-1])
        self._largest_area = _largest_area(responses.aeff, self._energy)

    def sample(self, observation: ScheduledObservation, rng: np.random.Generator) -> SampledEvents:
        """All events of one observation."""
        parts = [self._background.sample(observation, rng)]
        ids = [np.full(parts[0][0].shape[1], BACKGROUND_ID, dtype=np.int16)]
        pointing = observation.fov[0]
        for number, source in enumerate(self.sources, start=1):
            if offsets(source.vector[:, np.newaxis], pointing)[0] < _FURTHEST:
                parts.append(self._sample_source(source, observation, rng))
                ids.append(np.full(parts[-1][0].shape[1], number, dtype=np.int16))
        vectors = np.concatenate([part[0] for part in parts], axis=1)
        energy = np.concatenate([part[1] for part in parts])
        mc_id = np.concatenate(ids)
        time = observation.random_times(len(energy), rng)
        order = np.argsort(time, kind="stable")
        vectors = vectors[:, order]
        ra, dec = to_angles(vectors)
        detx, dety = to_fov(vectors, observation.fov)
        return SampledEvents(time[order], ra, dec, energy[order], detx, dety, mc_id[order])

    def _sample_source(
        self, source: Source, observation: ScheduledObservation, rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Directions ``(3, n)`` and reconstructed energies of the photons of one source.

        Candidates are drawn with the largest effective area of their energy, then kept with the
        probability that their own offset has of it.
        """
        rate = source.spectrum(self._energy) * self._energy * self._largest_area * _CM2
        counts = rate * np.diff(self._log_edges) * observation.livetime
        cumulative = np.cumsum(counts)
        n = rng.poisson(cumulative[-1])
        cell = np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right").clip(
            max=len(counts) - 1
        )
        energy = np.exp(self._log_edges[cell] + rng.random(n) * np.diff(self._log_edges)[cell])
        vectors = source.positions(n, rng)
        offset = offsets(vectors, observation.fov[0])
        area = self.responses.aeff.evaluate(energy_true=energy, offset=offset)
        kept = rng.random(n) * _largest_area(self.responses.aeff, energy) < area
        energy, offset, vectors = energy[kept], offset[kept], vectors[:, kept]
        vectors = displace(vectors, psf_radii(self.responses.psf, energy, offset, rng), rng)
        return vectors, energy * self._migration.sample(energy, offset, rng)


class BackgroundSampler:
    """Draws background events in the field of view.

    The rate is laid out on cells much finer than its table; within one, events are even in longitude,
    latitude and the logarithm of the energy, which is exact to 1e-3 of the statistical error.

    Parameters
    ----------
    bkg : Background3D
        Rate, aligned with RADEC.
    """

    _PER_BIN = (6, 2, 2)

    def __init__(self, bkg: Background3D) -> None:
        energy, lon, lat = (
            _refine(np.log(axis.edges) if axis.scale == "log" else axis.edges, n)
            for axis, n in zip(bkg.axes, self._PER_BIN, strict=True)
        )
        centres = [0.5 * (edges[1:] + edges[:-1]) for edges in (energy, lon, lat)]
        mesh = np.meshgrid(*centres, indexing="ij", sparse=True)
        rate = bkg.evaluate(energy=np.exp(mesh[0]), fov_lon=mesh[1], fov_lat=mesh[2]) * 1e6  # per TeV
        solid_angle = np.cos(np.radians(mesh[2])) * np.radians(lon[1] - lon[0]) * np.radians(lat[1] - lat[0])
        self._edges = (energy, lon, lat)
        self._shape = rate.shape
        self._cumulative = np.cumsum(rate * np.exp(mesh[0]) * (energy[1] - energy[0]) * solid_angle)

    @property
    def rate(self) -> float:
        """Events per second of good time."""
        return float(self._cumulative[-1])

    def sample(self, observation: ScheduledObservation, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Directions ``(3, n)`` and energies; the rate counts per time, dead or live."""
        n = rng.poisson(self.rate * observation.gti.ontime)
        cell = np.searchsorted(self._cumulative, rng.random(n) * self.rate, side="right")
        index = np.unravel_index(cell.clip(max=self._cumulative.size - 1), self._shape)
        log_energy, lon, lat = (
            edges[i] + rng.random(n) * (edges[1] - edges[0])
            for edges, i in zip(self._edges, index, strict=True)
        )
        return from_fov(lon, lat, observation.fov), np.exp(log_energy)


class MigrationSampler:
    """Draws ``E / E_true``; interpolating densities linearly is drawing a node, then from its density.

    Parameters
    ----------
    edisp : EnergyDispersion2D
    """

    def __init__(self, edisp: EnergyDispersion2D) -> None:
        self._energy, migra, self._offset = edisp.axes
        self._edges = migra.edges
        density = np.moveaxis(edisp.data.astype(np.float64), 1, 2) * migra.bin_width
        self._cumulative = np.cumsum(density, axis=2)
        self._cumulative /= self._cumulative[..., -1:]

    def sample(self, energy: Floats, offset: Floats, rng: np.random.Generator) -> Floats:
        """``E / E_true`` of photons of some true energies (TeV) and offsets (deg)."""
        nodes = []
        for axis, values in ((self._energy, energy), (self._offset, offset)):
            lower, weight = axis.cell(values)
            nodes.append(lower + (rng.random(len(values)) < weight))
        cumulative = self._cumulative[nodes[0], nodes[1]]
        u = rng.random(len(energy))
        above = (cumulative > u[:, np.newaxis]).argmax(axis=1)
        rows = np.arange(len(energy))
        low = np.where(above > 0, cumulative[rows, above - 1], 0.0)
        fraction = (u - low) / (cumulative[rows, above] - low)
        return self._edges[above] + fraction * np.diff(self._edges)[above]


def psf_radii(
    psf: EnergyDependentMultiGaussPSF, energy: Floats, offset: Floats, rng: np.random.Generator
) -> Floats:
    """Angles in deg between true and reconstructed direction of photons."""
    parameters = psf.evaluate_parameters(energy, offset)
    u = rng.random(len(energy))
    sigma = np.zeros(len(energy))
    below = np.zeros(len(energy))
    for fraction, width in psf.fractions(parameters):
        sigma = np.where((u >= below) & (u < below + fraction), width, sigma)
        below = below + fraction
    sigma = np.where(sigma > 0, sigma, parameters["sigma_1"])
    return sigma * np.sqrt(-2 * np.log1p(-rng.random(len(energy))))


def _largest_area(aeff: EffectiveAreaTable2D, energy: Floats) -> Floats:
    nodes = aeff.axis("offset").nodes
    return aeff.evaluate(energy_true=energy[:, np.newaxis], offset=nodes).max(axis=1)


def _refine(edges: Floats, n: int) -> Floats:
    return np.linspace(edges[0], edges[-1], n * (len(edges) - 1) + 1)
