"""Extended sources: images, and derivatives by position and shape."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import astropy.units as u
import numpy as np
import pytest
from scipy.special import erfc

from gammaflow.likelihood import ImageOptions, ImageState, SourceImage, source_image
from gammaflow.likelihood.shape import Shape
from gammaflow.modeling import (
    DiskSpatialModel,
    GaussianSpatialModel,
    GeneralizedGaussianSpatialModel,
    Parameter,
    PointSpatialModel,
    PowerLawSpectralModel,
    ShellSpatialModel,
    SkyModel,
    SpatialModel,
)

from .synthetic import disk_nodes, gaussian_image, make_dataset

CENTER = (83.6, 22.0)
PSF = 0.04
PLACE = {"lon_0": "83.6123 deg", "lat_0": "21.9931 deg", "frame": "icrs"}


def source(spatial: SpatialModel) -> SkyModel:
    return SkyModel(PowerLawSpectralModel(), spatial, name="source")


def built(spatial: SpatialModel, parameters: tuple[str, ...] = (), **options: object) -> SourceImage:
    image = source_image(
        make_dataset(psf=PSF, npix=121), source(spatial), parameters, ImageOptions(**options)
    )
    assert image is not None
    return image


def plane(state: ImageState, energy: int = 2) -> np.ndarray:
    return np.concatenate([stretch.copy() for _, stretch in state.images()])[energy]


def truth(image: SourceImage, offsets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Image of sources at offsets (2, n) deg to east and north of the model's position."""
    lattice = image.lattice
    place = lattice.position(*image.shape.lonlat).pixel
    return gaussian_image(
        lattice.size, place[:, None] + lattice.jacobian @ offsets, weights, PSF / lattice.pixel_size
    )


def shell_nodes(outer: float, inner: float) -> tuple[np.ndarray, np.ndarray]:
    places, weights = [], []
    for lo, hi in ((0.0, inner), (inner, outer)):
        # the projected shell has a kink at the inner radius, and steep sides
        for a, b in zip(np.linspace(lo, hi, 9)[:-1], np.linspace(lo, hi, 9)[1:], strict=True):
            p, w = disk_nodes(b, a, radial=12, azimuthal=96)
            r2 = (p**2).sum(axis=0)
            value = np.sqrt(outer**2 - r2) - np.sqrt(np.clip(inner**2 - r2, 0, None))
            places.append(p)
            weights.append(w * (b * b - a * a) * value)
    total = np.concatenate(weights)
    return np.concatenate(places, axis=1), total / total.sum()


def radial_nodes(profile: Callable[[np.ndarray], np.ndarray], reach: float) -> tuple[np.ndarray, np.ndarray]:
    places, weights = [], []
    edges = np.concatenate([[0], np.geomspace(1e-4, 1, 18)]) * reach
    for a, b in itertools.pairwise(edges):
        p, w = disk_nodes(b, a, radial=10, azimuthal=96)
        places.append(p)
        weights.append(w * (b * b - a * a) * profile(np.hypot(*p)))
    total = np.concatenate(weights)
    return np.concatenate(places, axis=1), total / total.sum()


def test_gaussian() -> None:
    image = built(GaussianSpatialModel(sigma="0.1 deg", **PLACE))
    lattice = image.lattice
    place = lattice.position(*image.shape.lonlat).pixel
    wide = np.hypot(PSF, 0.1) / lattice.pixel_size
    expected = gaussian_image(lattice.size, place[:, None], np.ones(1), wide)
    assert np.abs(plane(image.state(np.zeros(0))) - expected).max() <= 1e-4 * expected.max()


CASES = {
    "disk": (lambda: DiskSpatialModel(r_0="0.3 deg", **PLACE), lambda: disk_nodes(0.3, radial=120)),
    "small disk": (lambda: DiskSpatialModel(r_0="0.05 deg", **PLACE), lambda: disk_nodes(0.05)),
    "shell": (
        lambda: ShellSpatialModel(radius="0.2 deg", width="0.1 deg", **PLACE),
        lambda: shell_nodes(0.3, 0.2),
    ),
    "generalised gaussian": (
        lambda: GeneralizedGaussianSpatialModel(r_0="0.08 deg", eta=0.7, **PLACE),
        lambda: radial_nodes(lambda r: np.exp(-((r / 0.08) ** (1 / 0.7))), 0.08 * 30),
    ),
}


def test_a_disk_with_a_soft_edge() -> None:
    """Gammapy's edge is an error function along the radius, ours a Gaussian in two dimensions."""
    model = DiskSpatialModel(r_0="0.3 deg", edge_width=0.1, **PLACE)
    image = built(model)
    places, weights = [], []
    for inner, outer in itertools.pairwise([*np.linspace(0, 0.25, 6), *np.linspace(0.26, 0.36, 11)]):
        at, w = disk_nodes(outer, inner, radial=10, azimuthal=160)
        places.append(at)
        profile = 0.5 * erfc(2.326174307353347 * (np.hypot(*at) - 0.3) / (0.1 * 0.3))
        weights.append(w * (outer**2 - inner**2) * profile)
    total = np.concatenate(weights)
    expected = truth(image, np.concatenate(places, axis=1), total / total.sum())
    assert np.abs(plane(image.state(np.zeros(0))) - expected).max() <= 1e-3 * expected.max()


@pytest.mark.parametrize("case", CASES)
def test_extended_sources_are_their_nodes_through_the_psf(case: str) -> None:
    model, nodes = CASES[case]
    image = built(model())
    expected = truth(image, *nodes())
    found = plane(image.state(np.zeros(0)))
    assert np.abs(found - expected).max() <= 5e-4 * expected.max()
    assert found.min() > -5e-4 * expected.max()


def test_an_elliptical_disk_points_from_north_through_east() -> None:
    image = built(DiskSpatialModel(r_0="0.3 deg", e=0.9, phi="30 deg", **PLACE))
    offsets, weights = disk_nodes(1.0, radial=80)
    minor = 0.3 * np.sqrt(1 - 0.9**2)
    sin, cos = np.sin(np.radians(30)), np.cos(np.radians(30))
    turned = np.outer([sin, cos], 0.3 * offsets[0]) + np.outer([cos, -sin], minor * offsets[1])
    expected = truth(image, turned, weights)
    assert np.abs(plane(image.state(np.zeros(0))) - expected).max() <= 5e-4 * expected.max()


def test_a_shell_with_a_small_hole_is_a_ball() -> None:
    ball = truth_image = built(ShellSpatialModel(radius="1e-6 deg", width="0.3 deg", **PLACE))
    found = plane(ball.state(np.zeros(0)))
    expected = truth(truth_image, *shell_nodes(0.3, 1e-9))
    assert np.abs(found - expected).max() <= 5e-4 * expected.max()


# --- derivatives --------------------------------------------------------------------------------------------


class Blob(SpatialModel):
    """A user's model: only values."""

    tag = ("BlobForTests",)
    lon_0 = Parameter("lon_0", "0 deg")
    lat_0 = Parameter("lat_0", "0 deg")
    width = Parameter("width", "0.1 deg")
    skew = Parameter("skew", 0.3)

    @staticmethod
    def evaluate(lon, lat, lon_0, lat_0, width, skew):  # type: ignore[no-untyped-def]  # as a user writes it
        x = (lon - lon_0) * np.cos(np.radians(lat_0)) / width
        y = (lat - lat_0) / width
        norm = (180 / np.pi) ** 2 / (2 * np.pi * width**2)
        return norm * np.exp(-0.5 * (x**2 + y**2)) * (1 + skew * np.tanh(x))

    @property
    def evaluation_radius(self):  # type: ignore[no-untyped-def]  # as a user writes it
        return 5 * self.width.quantity


class TopHat(SpatialModel):
    """A user's model with an edge."""

    tag = ("TopHatForTests",)
    lon_0 = Parameter("lon_0", "0 deg")
    lat_0 = Parameter("lat_0", "0 deg")

    @staticmethod
    def evaluate(lon, lat, lon_0, lat_0):  # type: ignore[no-untyped-def]  # as a user writes it
        return 1e4 * ((np.abs(lon - lon_0) < 0.1) & (np.abs(lat - lat_0) < 0.1))

    @property
    def evaluation_radius(self):  # type: ignore[no-untyped-def]  # as a user writes it
        return 0.15 * u.deg


MODELS = {
    "point": (PointSpatialModel(**PLACE), ("lon_0", "lat_0")),
    "gaussian": (GaussianSpatialModel(sigma="0.1 deg", **PLACE), ("lon_0", "lat_0", "sigma")),
    "ellipse": (
        GaussianSpatialModel(sigma="0.12 deg", e=0.7, phi="40 deg", **PLACE),
        ("lon_0", "lat_0", "sigma", "e", "phi"),
    ),
    "covariance of a circle": (
        GaussianSpatialModel(sigma="0.1 deg", **PLACE),
        ("lon_0", "lat_0", "cov_ee", "cov_en", "cov_nn"),
    ),
    "disk": (DiskSpatialModel(r_0="0.25 deg", **PLACE), ("lon_0", "lat_0", "r_0")),
    "shell": (
        ShellSpatialModel(radius="0.2 deg", width="0.1 deg", **PLACE),
        ("lon_0", "lat_0", "radius", "width"),
    ),
    "generalised gaussian": (
        GeneralizedGaussianSpatialModel(r_0="0.1 deg", eta=0.6, **PLACE),
        ("lat_0", "r_0", "eta"),
    ),
    "user's": (
        Blob(width="0.1 deg", lon_0="83.6123 deg", lat_0="21.9931 deg"),
        ("lon_0", "lat_0", "width", "skew"),
    ),
}
VARIANTS = {"plain": {}, "linear responses": {"irf_variation": "linear"}, "warped": {"warp": True}}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", MODELS)
def test_derivatives(case: str, variant: str) -> None:
    """First derivatives of the image, and the adjoint sums of first and second ones, against differences."""
    model, parameters = MODELS[case]
    image = built(model, parameters, **VARIANTS[variant])
    at = image.start
    rng = np.random.default_rng(3)
    energies = len(image.edisp)
    y, x = np.mgrid[: image.size, : image.size] / image.size - 0.5
    maps = rng.uniform(1, 2, (energies, 1, 1)) * np.exp(
        -12 * ((x - 0.1) ** 2 + (y + 0.07) ** 2 + 0.3 * x * y)
    )
    fluxes = rng.uniform(0.5, 1.5, size=energies)
    stretches = [(slice(k, min(k + 4, energies)), maps[k : k + 4]) for k in range(0, energies, 4)]

    def sums(values: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        state = image.state(values, order)
        adjoint, nowhere = state.adjoint(iter(stretches), energies), np.zeros(0, dtype=np.intp)
        total, *first = state.at_pixels(nowhere, adjoint, (None, *range(state.derivatives)))[1]
        second = state.second_sums(state.for_basis(adjoint, fluxes)) if order == 2 else np.zeros((0, 0))
        return total, np.array(first), second

    total, slopes, second = sums(at, 2)
    images = np.concatenate([s.copy() for _, s in image.state(at).images()])
    np.testing.assert_allclose(total, (maps * images).sum(axis=(1, 2)), rtol=1e-11)
    for j, name in enumerate(parameters):
        step = {"e": 1e-4, "phi": 2e-2, "eta": 2e-4, "skew": 1e-3}.get(
            name, 1e-4 if "cov" not in name else 1e-5
        )
        moved = [at + sign * step * np.eye(len(at))[j] for sign in (1, -1)]
        found = np.concatenate([s.copy() for _, s in image.state(at, 1).derivative_images(j)])
        difference = np.zeros_like(found)
        for multiple, weight in ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12)):
            there = image.state(at + multiple * step * np.eye(len(at))[j])
            difference += weight / step * np.concatenate([s.copy() for _, s in there.images()])
        assert np.abs(found - difference).max() <= 1e-6 * np.abs(found).max(), name
        np.testing.assert_allclose(
            slopes[j], (maps * found).sum(axis=(1, 2)), rtol=1e-9, atol=1e-9 * np.abs(slopes[j]).max()
        )
        gradients = [fluxes @ sums(m, 1)[1].T for m in moved]
        row = (gradients[0] - gradients[1]) / (2 * step)
        size = np.sqrt(np.abs(np.diag(second)))
        allowed = 1e-4 * size[j] * size + 1e-8 * np.abs(second).max()
        np.testing.assert_array_less(np.abs(second[j] - row), allowed, err_msg=name)
    np.testing.assert_array_equal(second, second.T)


def test_a_sampled_model_is_the_one_with_a_transform() -> None:
    """The fall-back for users' models, held against the closed transform of the same Gaussian."""
    closed = built(GaussianSpatialModel(sigma="0.1 deg", **PLACE))
    flat = Blob(width="0.1 deg", skew=0.0, lon_0="83.6123 deg", lat_0="21.9931 deg")
    sampled = built(flat)
    assert sampled.shape.sampled
    found, expected = sampled_plane(sampled, closed)
    assert np.abs(found - expected).max() <= 1e-3 * expected.max()


def sampled_plane(first: SourceImage, second: SourceImage) -> tuple[np.ndarray, np.ndarray]:
    """The part of two windows around one place that both have."""
    a, b = (plane(image.state(np.zeros(0))) for image in (first, second))
    size = min(len(a), len(b)) - 2
    ax, ay = (first.lattice.size // 2 - size // 2,) * 2
    bx, by = (second.lattice.size // 2 - size // 2,) * 2
    return a[ay : ay + size, ax : ax + size], b[by : by + size, bx : bx + size]


@pytest.mark.parametrize(("oversampling", "bound"), [(2, 4e-2), (4, 1e-2), (8, 2e-3)])
def test_a_sampled_disk_converges(oversampling: int, bound: float) -> None:
    model = DiskSpatialModel(r_0="0.3 deg", **PLACE)
    closed = built(model)
    shape = Shape(model, (), closed.lattice, np.ones(5), oversampling, sampled=True)
    closed.shape, kept = shape, closed.shape
    found = plane(closed.state(np.zeros(0)))
    closed.shape = kept
    expected = plane(closed.state(np.zeros(0)))
    assert np.abs(found - expected).max() <= bound * expected.max()


def test_oversampling_is_found_by_doubling() -> None:
    smooth = built(Blob(width="0.1 deg", lon_0="83.6123 deg", lat_0="21.9931 deg"))
    sharp = built(TopHat(lon_0="83.6123 deg", lat_0="21.9931 deg"))
    assert smooth.shape.oversampling < sharp.shape.oversampling


def test_a_change_of_the_frequency_list_is_invisible() -> None:
    """The cut of a Gaussian climbs a ladder with its size; the image does not notice."""
    image = built(GaussianSpatialModel(sigma="0.1 deg", **PLACE), ("sigma",))
    sigmas = np.linspace(0.06, 0.14, 81)
    states = [image.state(np.array([s])) for s in sigmas]
    counts = [s.frequencies.count for s in states]
    steps = np.flatnonzero(np.diff(counts))
    assert len(steps) >= 2
    lo, hi = sigmas[steps[0]], sigmas[steps[0] + 1]
    for _ in range(50):
        middle = 0.5 * (lo + hi)
        if image.state(np.array([middle])).frequencies.count == counts[steps[0]]:
            lo = middle
        else:
            hi = middle
    before, after = (plane(image.state(np.array([s]))) for s in (lo, hi))
    assert np.abs(before - after).max() <= 1e-9 * before.max()
