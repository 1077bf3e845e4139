"""Events follow the responses: totals, energies and positions against expectations integrated otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gammaflow.data.simulation.responses import Responses, cta_like_responses
from gammaflow.data.simulation.sampling import EventSampler, SampledEvents
from gammaflow.data.simulation.schedule import ScheduledObservation, observation_rng, schedule
from gammaflow.data.simulation.sky import Gaussian, Point, Shell, Source, survey_sky
from gammaflow.data.simulation.sphere import (
    displace,
    fov_matrix,
    from_fov,
    offsets,
    to_angles,
    to_fov,
    to_vectors,
)

N_OBSERVATIONS = 28
EDGES = np.geomspace(0.05, 150, 15)
UNLIKELY = 1e-3  # the seeds are fixed: a test that passes once passes always


@dataclass(frozen=True)
class Simulated:
    """Observations in memory, with what they were drawn from."""

    responses: Responses
    sources: tuple[Source, ...]
    observations: list[ScheduledObservation]
    events: list[SampledEvents]


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    responses, sources = cta_like_responses(), survey_sky()
    sampler = EventSampler(responses, sources)
    observations, events = [], []
    for number in range(N_OBSERVATIONS):
        rng = observation_rng(7, number)
        observations.append(schedule(number, rng, 1800.0))
        events.append(sampler.sample(observations[-1], rng))
    return Simulated(responses, sources, observations, events)


GRID = np.geomspace(0.02, 200, 1001)  # true energies, fine
ENERGY = np.sqrt(GRID[1:] * GRID[:-1])


def expected_photons(
    simulated: Simulated, source: Source, observation: ScheduledObservation, offset: float
) -> NDArray[np.float64]:
    """Counts per true energy bin of `GRID` of a source at one offset."""
    area = simulated.responses.aeff.evaluate(energy_true=ENERGY, offset=offset) * 1e4
    return source.spectrum(ENERGY) * area * np.diff(GRID) * observation.livetime


def reconstructed(simulated: Simulated, offset: float) -> NDArray[np.float64]:
    """Probability of each reconstructed bin of `EDGES` for each true energy of `ENERGY`."""
    edisp = simulated.responses.edisp
    migra = edisp.axis("migra")
    density = edisp.evaluate(energy_true=ENERGY[:, np.newaxis], migra=migra.nodes, offset=offset)
    cumulative = np.cumsum(density * migra.bin_width, axis=1)
    cumulative = np.concatenate([np.zeros((len(ENERGY), 1)), cumulative / cumulative[:, -1:]], axis=1)
    below = [np.interp(EDGES / e, migra.edges, row) for e, row in zip(ENERGY, cumulative, strict=True)]
    return np.diff(below, axis=1)


def chi2_probability(observed: NDArray[np.int64], expected: NDArray[np.float64]) -> float:
    """Of counts against expectations, the bins of few counts merged into one."""
    few = expected < 15
    n = np.append(observed[~few], observed[few].sum())
    mu = np.append(expected[~few], expected[few].sum())
    return float(stats.chi2.sf(((n - mu) ** 2 / np.maximum(mu, 1e-9)).sum(), len(n)))


@pytest.mark.parametrize("name", ["point-power-law", "point-log-parabola", "point-hard", "point-soft"])
def test_a_point_source_has_the_expected_counts_in_every_energy_bin(simulated: Simulated, name: str) -> None:
    number = [source.name for source in simulated.sources].index(name)
    source = simulated.sources[number]
    observed, expected = np.zeros(len(EDGES) - 1, dtype=np.int64), np.zeros(len(EDGES) - 1)
    total, total_expected = 0, 0.0
    for observation, events in zip(simulated.observations, simulated.events, strict=True):
        offset = float(offsets(source.vector[:, np.newaxis], observation.fov[0])[0])
        per_energy = expected_photons(simulated, source, observation, offset)
        mine = events.mc_id == number + 1
        observed += np.histogram(events.energy[mine], EDGES)[0]
        if per_energy.any():  # else it is outside the field of view
            expected += per_energy @ reconstructed(simulated, offset)
        total += int(mine.sum())
        total_expected += per_energy.sum()
    assert abs(total - total_expected) < 4 * np.sqrt(total_expected)
    assert chi2_probability(observed, expected) > UNLIKELY


def test_an_extended_source_has_the_counts_of_its_parts(simulated: Simulated) -> None:
    number = [source.name for source in simulated.sources].index("shell-power-law")
    source = simulated.sources[number]
    rng = np.random.default_rng(1)
    parts = source.positions(40, rng)
    observed, expected = 0, 0.0
    for observation, events in zip(simulated.observations, simulated.events, strict=True):
        distances = offsets(parts, observation.fov[0])
        expected += np.mean(
            [expected_photons(simulated, source, observation, float(d)).sum() for d in distances]
        )
        observed += int((events.mc_id == number + 1).sum())
    # the mean over 40 positions is itself known to half a per cent only
    assert abs(observed - expected) < 4 * np.hypot(np.sqrt(expected), 0.005 * expected)


def test_the_background_has_the_expected_counts_in_energy_and_field_of_view(simulated: Simulated) -> None:
    bkg = simulated.responses.bkg
    # Gauss-Legendre nodes in each cell of the table's interpolation: not the sampler's cells
    nodes, weights = np.polynomial.legendre.leggauss(3)

    def points(breaks: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        half = 0.5 * np.diff(breaks)[:, np.newaxis]
        return (breaks[:-1, np.newaxis] + half * (1 + nodes)).ravel(), (half * weights).ravel()

    log_nodes = np.log(bkg.axis("energy").nodes)
    log_edges = np.log(np.geomspace(0.02, 200, 9))
    breaks = np.unique(np.concatenate([log_edges, log_nodes]).round(12))
    x, wx = points(breaks)
    axis = np.concatenate([[-6.0], bkg.axis("fov_lon").nodes, [6.0]])
    lon, wlon = points(axis)
    rate = bkg.evaluate(energy=np.exp(x)[:, None, None], fov_lon=lon[:, None], fov_lat=lon) * 1e6
    rate = rate * np.exp(x)[:, None, None] * wx[:, None, None] * np.cos(np.radians(lon))
    rate = rate * np.radians(wlon)[:, None] * np.radians(wlon)
    time = sum(observation.gti.ontime for observation in simulated.observations)
    background = [events.mc_id == 0 for events in simulated.events]
    energy = np.concatenate([e.energy[b] for e, b in zip(simulated.events, background, strict=True)])
    detx = np.concatenate([e.detx[b] for e, b in zip(simulated.events, background, strict=True)])
    dety = np.concatenate([e.dety[b] for e, b in zip(simulated.events, background, strict=True)])

    def binned(
        values: NDArray[np.float64], per_point: NDArray[np.float64], edges: NDArray[np.float64]
    ) -> NDArray:
        return np.histogram(values, edges, weights=per_point)[0]

    expected = binned(x, rate.sum(axis=(1, 2)), log_edges) * time
    assert chi2_probability(np.histogram(np.log(energy), log_edges)[0], expected) > UNLIKELY
    fov_edges = np.concatenate([[-6.0], bkg.axis("fov_lon").nodes[::2], [6.0]])
    for angle, kept in ((detx, (0, 2)), (dety, (0, 1))):
        expected = binned(lon, rate.sum(axis=kept), fov_edges) * time
        assert chi2_probability(np.histogram(angle, fov_edges)[0], expected) > UNLIKELY


def test_the_psf_contains_what_it_should(simulated: Simulated) -> None:
    source, number = simulated.sources[0], 1
    distance, probability = [], []
    radii = np.array([0.03, 0.06, 0.1, 0.2])
    for observation, events in zip(simulated.observations, simulated.events, strict=True):
        mine = events.mc_id == number
        distance.append(offsets(to_vectors(events.ra[mine], events.dec[mine]), source.vector))
        offset = float(offsets(source.vector[:, np.newaxis], observation.fov[0])[0])
        counts = expected_photons(simulated, source, observation, offset)
        inside = simulated.responses.psf.containment(radii[:, np.newaxis], ENERGY, offset)
        probability.append((inside * counts).sum(axis=1))
    expected = np.sum(probability, axis=0)
    observed = np.array([(np.concatenate(distance) < r).sum() for r in radii])
    rings, ring_expected = np.diff(observed, prepend=0), np.diff(expected, prepend=0)
    assert np.all(np.abs(rings - ring_expected) < 4 * np.sqrt(ring_expected))


@pytest.mark.parametrize(
    ("shape", "distribution"),
    [
        (Gaussian(0.3), lambda r: 1 - np.exp(-0.5 * (r / 0.3) ** 2)),
        # the integral of the profile of a projected shell
        (
            Shell(0.35, 0.1),
            lambda r: (
                1
                - (np.clip(0.45**2 - r**2, 0, None) ** 1.5 - np.clip(0.35**2 - r**2, 0, None) ** 1.5)
                / (0.45**3 - 0.35**3)
            ),
        ),
    ],
)
def test_shapes_have_the_radial_profiles_of_their_models(
    shape: Gaussian | Shell, distribution: object
) -> None:
    radii = shape.radii(20000, np.random.default_rng(3))
    assert stats.kstest(radii, distribution).pvalue > UNLIKELY


def test_a_point_stays_a_point() -> None:
    assert not Point().radii(5, np.random.default_rng(0)).any()


@pytest.mark.parametrize("dec", [-80.0, -29.0, 0.0, 89.9])
def test_displacing_moves_by_the_radius_in_all_directions(dec: float) -> None:
    centre = np.repeat(to_vectors(np.array(200.0), np.array(dec))[:, np.newaxis], 4000, axis=1)
    moved = displace(centre, np.full(4000, 0.5), np.random.default_rng(2))
    np.testing.assert_allclose(offsets(moved, centre[:, 0]), 0.5, rtol=1e-9)
    mean = moved.mean(axis=1)
    assert offsets(mean[:, np.newaxis] / np.linalg.norm(mean), centre[:, 0])[0] < 0.03


def test_the_field_of_view_grows_to_the_west_and_to_the_north() -> None:
    matrix = fov_matrix(80.0, -30.0)
    lon, lat = to_fov(to_vectors(np.array([80.0, 81.0, 80.0]), np.array([-30.0, -30.0, -29.0])), matrix)
    np.testing.assert_allclose(
        lon, [0, -np.degrees(np.arctan2(np.sin(np.radians(1)) * np.cos(np.radians(30)), 1)), 0], atol=2e-4
    )
    np.testing.assert_allclose(lat, [0, 0, 1], atol=5e-3)
    ra, dec = to_angles(from_fov(lon, lat, matrix))
    np.testing.assert_allclose(ra, [80, 81, 80], atol=1e-9)
    np.testing.assert_allclose(dec, [-30, -30, -29], atol=1e-9)


def test_events_are_in_order_and_in_the_good_time(simulated: Simulated) -> None:
    assert any(len(observation.gti) > 1 for observation in simulated.observations)
    for observation, events in zip(simulated.observations, simulated.events, strict=True):
        assert np.all(np.diff(events.time) >= 0)
        inside = np.zeros(len(events), dtype=bool)
        for start, stop in zip(observation.gti.start, observation.gti.stop, strict=True):
            inside |= (events.time >= start) & (events.time < stop)
        assert inside.all()
        assert np.abs(events.detx).max() < 7
        assert (events.ra >= 0).all()
        assert (events.ra < 360).all()
