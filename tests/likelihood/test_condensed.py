"""The condensed likelihood: exact against the sum over all bins, in value and in derivatives."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
import pytest

from gammaflow.datasets import MapDataset
from gammaflow.errors import DataError
from gammaflow.likelihood import (
    Cash,
    CondensedDataset,
    FluxBlock,
    ImageOptions,
    Layout,
    Request,
    Shard,
    SharedNuisance,
    SpatialBlock,
    condense,
    layout_of,
    mask_of,
    npred_background,
    point_of,
    source_image,
)
from gammaflow.likelihood.condensed_source import FrozenSource, MovingSource
from gammaflow.likelihood.npred import add_counts, fluxes_of
from gammaflow.likelihood.sums import total
from gammaflow.modeling import (
    DiskSpatialModel,
    FoVBackgroundModel,
    GaussianPrior,
    GaussianSpatialModel,
    Model,
    Models,
    PiecewiseNormSpectralModel,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
)

from .synthetic import gaussian_image, make_dataset

SCALE = 1e-8  # typical flux in a bin, m-2 s-1


def point_source(
    name: str = "point", lon: float = 83.61, lat: float = 21.99, amplitude: float = 4e-12, **free: bool
) -> SkyModel:
    spatial = PointSpatialModel(lon_0=f"{lon} deg", lat_0=f"{lat} deg", frame="icrs")
    return sky(name, spatial, amplitude, free)


def gaussian(
    name: str = "gauss", lon: float = 83.66, lat: float = 22.05, amplitude: float = 8e-12, **free: bool
) -> SkyModel:
    spatial = GaussianSpatialModel(lon_0=f"{lon} deg", lat_0=f"{lat} deg", sigma="0.08 deg", frame="icrs")
    return sky(name, spatial, amplitude, free)


def sky(name: str, spatial: object, amplitude: float, free: dict[str, bool]) -> SkyModel:
    model = SkyModel(
        PowerLawSpectralModel(index=2.2, amplitude=f"{amplitude} cm-2 s-1 TeV-1"), spatial, name=name
    )
    if not free.get("position", True):
        model.spatial_model.lon_0.frozen = model.spatial_model.lat_0.frozen = True
    if not free.get("size", True):
        model.spatial_model.sigma.frozen = True
    return model


def background(name: str, tilt: bool = False, norm: float = 1.0, **limits: float) -> FoVBackgroundModel:
    spectral = PowerLawNormSpectralModel(norm=norm, tilt=0.0)
    spectral.tilt.frozen = not tilt
    spectral.norm.set_lim(**limits)
    return FoVBackgroundModel(spectral, dataset_name=name)


def observed(dataset: MapDataset, models: Sequence[Model], seed: int = 1) -> MapDataset:
    """The dataset with Poisson counts of what the models predict."""
    from gammaflow.likelihood import npred

    counts = np.random.default_rng(seed).poisson(npred(dataset, models))
    return dataset.with_arrays(counts=counts.astype(np.int32))


def setup(
    models: Models,
    names: Sequence[str] = ("one",),
    seed: int = 1,
    options: ImageOptions | None = None,
    truth: Models | None = None,
    **kwargs: object,
) -> tuple[list[MapDataset], Layout, list[CondensedDataset]]:
    truth = models if truth is None else truth
    datasets = [observed(make_dataset(name, **kwargs), truth, seed + i) for i, name in enumerate(names)]
    layout = layout_of(models, {d.name: d.geometry.energy_axis_true.edges for d in datasets})
    return datasets, layout, [condense(d, models, layout, options) for d in datasets]


def start(layout: Layout, models: Models) -> np.ndarray:
    sources = {m.name: m for m in models.sky_models}
    fluxes = {b: sources[b.source].spectral_model.integral_values(np.array(b.edges)) for b in layout.flux}
    spatial = {
        b.source: np.array([sources[b.source].spatial_model.parameters[n].value for n in b.parameters])
        for b in layout.spatial
    }
    return point_of(layout, fluxes, spatial, np.ones(len(layout.nuisance)))


def random_points(
    layout: Layout, models: Models, count: int, spread: float = 0.3, seed: int = 2
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = np.tile(start(layout, models), (count, 1))
    n = layout.n_flux
    points[:, :n] *= 1 + spread * rng.normal(size=(count, n))
    points[:, n : n + layout.n_spatial] += 0.01 * rng.normal(size=(count, layout.n_spatial))
    return points


def full_sum(dataset: MapDataset, condensed: CondensedDataset, models: Models, point: np.ndarray) -> float:
    """The Cash statistic over all bins of the fit, with the condensed dataset's own images and nuisances."""
    predicted = np.zeros(dataset.geometry.shapes["counts"])
    moving = {source.name: source for source in condensed.sources if isinstance(source, MovingSource)}
    frozen = {source.name: source for source in condensed.sources if isinstance(source, FrozenSource)}
    for model in models.sky_models:
        if model.name in moving:
            source = moving[model.name]
            add_counts(predicted, source.image, point[source.flux], point[source.spatial])
        elif model.belongs_to(dataset.name):
            image = source_image(dataset, model, reconstructed=mask_of(dataset).any(axis=(1, 2)))
            if image is not None:
                own_fluxes = point[frozen[model.name].flux] if model.name in frozen else None
                at_start = fluxes_of(dataset, model)[image.energies]
                add_counts(predicted, image, at_start if own_fluxes is None else own_fluxes, np.zeros(0))
    state = condensed.nuisances(point)[0]
    own = models.background_models.get(dataset.name)
    if own is not None:
        own = own.copy()
        for name, value in zip(state.parameters, state.values, strict=True):
            own.parameters[name].value = value
        predicted += npred_background(dataset, [own])
    else:
        predicted += npred_background(dataset)
    counts = np.asarray(dataset.counts, dtype=float)
    return float(Cash(counts).value(predicted)[mask_of(dataset)].sum())


CASES: dict[str, tuple[Models, dict[str, object]]] = {
    "a point": (Models([point_source(), background("one")]), {}),
    "frozen position": (Models([point_source(position=False), background("one", tilt=True)]), {}),
    "an extended source": (Models([gaussian(), background("one")]), {}),
    "overlapping sources": (
        Models([point_source(), gaussian(), background("one", tilt=True)]),
        {},
    ),
    "far apart": (
        Models(
            [point_source(lon=83.2, lat=21.4), point_source("other", lon=84.1, lat=22.6), background("one")]
        ),
        {"npix": 101},
    ),
    "at the edge of the map": (Models([gaussian(lon=84.45), background("one")]), {}),
    "a fixed source below": (
        Models(
            [
                point_source(),
                sky("fixed", DiskSpatialModel(lon_0="83.6 deg", lat_0="22 deg", r_0="0.2 deg"), 5e-12, {}),
                background("one"),
            ]
        ),
        {},
    ),
    "no background model": (Models([point_source()]), {}),
    "linear responses": (
        Models([gaussian(), background("one")]),
        {"options": ImageOptions(irf_variation="linear")},
    ),
    "a warped window": (Models([gaussian(), background("one")]), {"options": ImageOptions(warp=True)}),
    "many true energies": (
        Models([point_source(), gaussian(), background("one")]),
        {"true_bins": 24, "psf": np.geomspace(0.12, 0.04, 24)},
    ),
    "many true energies, warped": (
        Models([gaussian(), background("one")]),
        {"true_bins": 24, "psf": np.geomspace(0.12, 0.04, 24), "options": ImageOptions(warp=True)},
    ),
    "a norm at its limit": (
        Models([point_source(), background("one", norm=1.2, min=1.1)]),
        {"truth": Models([point_source(), background("one")])},
    ),
}
CASES["a fixed source below"][0]["fixed"].freeze()


@pytest.mark.parametrize("case", CASES)
def test_the_condensed_sum_is_the_full_sum(case: str) -> None:
    models, kwargs = CASES[case]
    rng = np.random.default_rng(0)
    shape = make_dataset(npix=kwargs.get("npix", 81)).geometry.shapes["counts"]
    mask_safe = np.broadcast_to(rng.random(shape[1:]) > 0.1, shape)
    mask_fit = np.ones(shape, dtype=bool)
    mask_fit[0] = False
    (dataset,), layout, (condensed,) = setup(models, mask_safe=mask_safe, mask_fit=mask_fit, **kwargs)
    points = random_points(layout, models, 20)
    points[5, : layout.n_flux] *= -0.002  # a negative amplitude
    reply = condensed.evaluate(Request(points, 0))
    assert not reply.invalid.any()
    expected = [full_sum(dataset, condensed, models, point) for point in points]
    np.testing.assert_allclose(reply.stat, expected, rtol=1e-12)
    assert condensed.info.active_bins < condensed.info.bins
    if case == "a norm at its limit":
        state = condensed.nuisances(points[0])[0]
        assert state.at_limit[0] == -1
        assert state.values[0] == 1.1
        assert not state.inverse_hessian.any()


def test_a_prediction_below_zero_is_linear_where_there_are_no_counts() -> None:
    """The full sum cuts the prediction at zero in bins without counts, the condensed one does not: a fit that ends
    at a negative flux has to look at the full sum.
    """
    models, kwargs = CASES["a norm at its limit"]
    (dataset,), layout, (condensed,) = setup(models, **kwargs)
    point = start(layout, models)
    point[: layout.n_flux] *= -0.05
    condensed_stat = condensed.evaluate(Request.at(point, 0)).stat[0]
    full = full_sum(dataset, condensed, models, point)
    assert condensed_stat < full
    assert full - condensed_stat < 1.0


@pytest.mark.parametrize("case", CASES)
def test_gradient_and_hessian(case: str) -> None:
    """Against differences of the profile likelihood and of its gradient."""
    models, kwargs = CASES[case]
    _, layout, (condensed,) = setup(models, **kwargs)
    at = random_points(layout, models, 1)[0]
    check_derivatives([condensed], layout, at)


def check_derivatives(
    datasets: Sequence[CondensedDataset], layout: Layout, at: np.ndarray, rtol: float = 1e-6
) -> None:
    shard = Shard(tuple(datasets))
    expansion = shard.evaluate(Request.at(at)).at(0, layout.size)
    hessian = expansion.hessian
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-12, atol=1e-12 * np.abs(hessian).max())
    scale = 1.0 / np.sqrt(np.diag(expansion.gauss_newton))
    steps = 3e-3 * scale
    fluxes = slice(0, layout.n_flux)
    steps[fluxes] = np.minimum(steps[fluxes], 1e-2 * np.abs(at[fluxes]).max())
    n = layout.n_flux
    steps[n : n + layout.n_spatial] = np.minimum(steps[n : n + layout.n_spatial], 1e-4)
    points = np.concatenate(
        [at + np.diag(steps), at - np.diag(steps), at + 2 * np.diag(steps), at - 2 * np.diag(steps)]
    )
    reply = shard.evaluate(Request(points, 1))
    m = layout.size
    f = reply.variable.reshape(4, m)
    gradients = np.array([reply.at(i, m).gradient for i in range(4 * m)]).reshape(4, m, m)
    slope = (8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * steps)
    curve = (8 * (gradients[0] - gradients[1]) - (gradients[2] - gradients[3])) / (12 * steps[:, None])
    np.testing.assert_allclose(expansion.gradient * scale, slope * scale, atol=2e-6, rtol=rtol)
    np.testing.assert_allclose(hessian * np.outer(scale, scale), curve * np.outer(scale, scale), atol=2e-6)


def test_several_datasets_linked_backgrounds_and_a_tilt() -> None:
    first, second, third = (background(name, tilt=True) for name in ("one", "two", "three"))
    second.spectral_model.norm = first.spectral_model.norm
    third.spectral_model.tilt = first.spectral_model.tilt
    models = Models([point_source(), gaussian(), first, second, third])
    models["gauss"].datasets_names = ["two", "three"]
    datasets, layout, condensed = setup(models, ("one", "two", "three"))
    assert layout.nuisance == (
        SharedNuisance("one-bkg:tilt", (("one", "tilt"), ("three", "tilt"))),
        SharedNuisance("one-bkg:norm", (("one", "norm"), ("two", "norm"))),
    )
    at = random_points(layout, models, 1, spread=0.1)[0]
    at[-2:] = (0.05, 1.03)
    check_derivatives(condensed, layout, at)
    # the nuisances that are left are local
    assert [c.nuisances(at)[0].parameters for c in condensed] == [(), ("tilt",), ("norm",)]
    whole = Shard(tuple(condensed)).evaluate(Request.at(at, 0)).stat[0]
    expected = 0.0
    for dataset, own in zip(datasets, condensed, strict=True):
        shifted = models.copy()
        shifted["one-bkg"].spectral_model.norm.value = 1.03
        shifted["one-bkg"].spectral_model.tilt.value = 0.05
        expected += full_sum(dataset, own, shifted, at)
    assert whole == pytest.approx(expected, rel=1e-12)


def test_replies_add_up_over_different_coordinates() -> None:
    models = Models([point_source(), gaussian(), background("one"), background("two")])
    models["point"].datasets_names = ["one"]
    models["gauss"].datasets_names = ["two"]
    _, layout, condensed = setup(models, ("one", "two"))
    points = random_points(layout, models, 3)
    apart = [c.evaluate(Request(points)) for c in condensed]
    together = total(apart)
    assert together.datasets == 2
    for i in range(3):
        found = together.at(i, layout.size)
        parts = [reply.at(i, layout.size) for reply in apart]
        assert found.stat == pytest.approx(sum(p.stat for p in parts), rel=1e-14)
        np.testing.assert_array_equal(found.gradient, sum(p.gradient for p in parts))
        np.testing.assert_array_equal(found.gauss_newton, sum(p.gauss_newton for p in parts))
        np.testing.assert_array_equal(found.second_order, sum(p.second_order for p in parts))


def test_one_source_with_two_energy_axes_has_two_flux_blocks() -> None:
    models = Models([point_source(), background("one"), background("two")])
    datasets = [observed(make_dataset("one"), models), observed(make_dataset("two", true_bins=7), models)]
    layout = layout_of(models, {d.name: d.geometry.energy_axis_true.edges for d in datasets})
    assert [block.size for block in layout.flux] == [5, 7]
    assert layout.spatial == (SpatialBlock("point", ("lon_0", "lat_0")),)
    condensed = [condense(d, models, layout) for d in datasets]
    check_derivatives(condensed, layout, random_points(layout, models, 1)[0])


def test_a_batch_is_its_points() -> None:
    for case in ("frozen position", "overlapping sources"):
        models, kwargs = CASES[case]
        _, layout, (condensed,) = setup(models, **kwargs)
        points = random_points(layout, models, 21)
        batch = condensed.evaluate(Request(points))
        for i, point in enumerate(points):
            single = condensed.evaluate(Request.at(point))
            np.testing.assert_allclose(batch.variable[i], single.variable[0], rtol=1e-12)
            np.testing.assert_allclose(
                batch.gradient[i], single.gradient[0], rtol=1e-9, atol=1e-12 * np.abs(single.gradient).max()
            )
            np.testing.assert_allclose(
                batch.gauss_newton[i],
                single.gauss_newton[0],
                rtol=1e-9,
                atol=1e-12 * np.abs(single.gauss_newton).max(),
            )


def test_history_leaves_no_trace() -> None:
    """F and its derivatives at a point have the same bits after a detour, and in another process."""
    models = Models([gaussian(), point_source(), background("one", tilt=True)])
    _, layout, (condensed,) = setup(models)
    fresh = pickle.loads(pickle.dumps(condensed))
    at, far = start(layout, models), random_points(layout, models, 1, 2.0)[0]
    far[layout.spatial_slice("gauss")] += (0.3, -0.2, 0.05)
    before = condensed.evaluate(Request.at(at))
    condensed.evaluate(Request.at(far))
    condensed.nuisances(far)
    for other in (condensed.evaluate(Request.at(at)), fresh.evaluate(Request.at(at))):
        np.testing.assert_array_equal(other.stat, before.stat)
        np.testing.assert_array_equal(other.gradient, before.gradient)
        np.testing.assert_array_equal(other.gauss_newton, before.gauss_newton)
        np.testing.assert_array_equal(other.second_order, before.second_order)


def test_derivatives_along_a_basis() -> None:
    models, kwargs = CASES["an extended source"]
    _, layout, (condensed,) = setup(models, **kwargs)
    at = start(layout, models)
    basis = (
        np.random.default_rng(1).normal(size=(layout.size, 4))
        * np.where(np.arange(layout.size) < layout.n_flux, SCALE, 1e-3)[:, None]
    )
    whole = condensed.evaluate(Request.at(at)).at(0, layout.size)
    along = condensed.evaluate(Request(at[None], 2, basis)).at(0, 4)
    np.testing.assert_allclose(along.gradient, basis.T @ whole.gradient, rtol=1e-10)
    np.testing.assert_allclose(along.hessian, basis.T @ whole.hessian @ basis, rtol=1e-10)


def test_what_a_dataset_says_of_its_own_parameters() -> None:
    """Values at the minimum, their change with the shared coordinates, and their variance."""
    models = Models([gaussian(), background("one", tilt=True)])
    _dataset, layout, (condensed,) = setup(models)
    at = random_points(layout, models, 1)[0]
    state = condensed.nuisances(at)[0]
    assert state.parameters == ("tilt", "norm")
    assert state.stat == pytest.approx(condensed.evaluate(Request.at(at, 0)).stat[0], rel=1e-13)
    for j, coordinate in enumerate(state.index):
        step = 1e-4 if coordinate >= layout.n_flux else 1e-3 * SCALE
        up, down = at.copy(), at.copy()
        up[coordinate] += step
        down[coordinate] -= step
        moved = (condensed.nuisances(up)[0].values - condensed.nuisances(down)[0].values) / (2 * step)
        np.testing.assert_allclose(
            state.response[:, j], moved, rtol=2e-5, atol=2e-5 * np.abs(state.response).max() * 1e-2
        )
    # at fixed sources the statistic is a parabola around them
    inner = condensed.background
    signal = np.zeros((1, condensed.bins))
    for source in condensed.sources:
        term = source.term(at, 0)
        signal[0, source.rows] += at[source.flux] @ term.counts
    best = inner.inner(state.values[None], signal)
    np.testing.assert_allclose(best.gradient[0], 0, atol=1e-4)
    np.testing.assert_allclose(np.linalg.inv(best.hessian[0]), state.inverse_hessian, rtol=1e-6)


def test_a_prior_on_a_local_parameter_pulls_it() -> None:
    free, pulled = background("one"), background("one")
    pulled.spectral_model.norm.prior = GaussianPrior(mu=0.5, sigma=0.01)
    models = [Models([point_source(), model]) for model in (free, pulled)]
    dataset = observed(make_dataset("one"), models[0])
    layout = layout_of(models[0], {"one": dataset.geometry.energy_axis_true.edges})
    at = start(layout, models[0])
    condensed = [condense(dataset, m, layout) for m in models]
    values = [c.nuisances(at)[0].values[0] for c in condensed]
    assert values[1] < values[0] - 0.05
    state = condensed[1].nuisances(at)[0]
    without = full_sum(dataset, condensed[1], models[1], at)
    assert state.stat == pytest.approx(
        without + GaussianPrior(mu=0.5, sigma=0.01).value(values[1]), rel=1e-12
    )
    check_derivatives([condensed[1]], layout, at)


def test_a_background_of_another_spectral_model() -> None:
    nodes = np.array([0.5, 3.0, 20.0])
    spectral = PiecewiseNormSpectralModel(nodes * _tev(), [1.0, 1.1, 0.9])
    models = Models([point_source(), FoVBackgroundModel(spectral, dataset_name="one")])
    (dataset,), layout, (condensed,) = setup(models)
    at = random_points(layout, models, 1)[0]
    assert condensed.evaluate(Request.at(at, 0)).stat[0] == pytest.approx(
        full_sum(dataset, condensed, models, at), rel=1e-12
    )
    check_derivatives([condensed], layout, at, rtol=1e-5)


def _tev() -> object:
    import astropy.units as u

    return u.TeV


# --- what can be odd about a dataset -------------------------------------------------------------------------


def test_a_dataset_without_sources() -> None:
    models = Models([point_source(lon=120.0), background("one")])
    (dataset,), layout, (condensed,) = setup(models)
    at = start(layout, models)
    reply = condensed.evaluate(Request.at(at))
    assert not len(reply.index)
    assert reply.stat[0] == pytest.approx(full_sum(dataset, condensed, models, at), rel=1e-12)
    counts, expected = np.asarray(dataset.counts).sum(), np.asarray(dataset.background, dtype=float).sum()
    assert condensed.nuisances(at)[0].values[0] == pytest.approx(counts / expected, rel=1e-9)
    assert total([reply, reply]).at(0, layout.size).stat == pytest.approx(2 * reply.stat[0])


def test_all_bins_masked() -> None:
    models = Models([point_source(), background("one", tilt=True)])
    shape = make_dataset().geometry.shapes["counts"]
    _, layout, (condensed,) = setup(models, mask_safe=np.zeros(shape, dtype=bool))
    at = start(layout, models)
    reply = condensed.evaluate(Request.at(at))
    assert reply.stat[0] == 0.0
    assert not reply.gradient.any()
    assert not reply.gauss_newton.any()
    state = condensed.nuisances(at)[0]
    assert state.undetermined.all()
    np.testing.assert_array_equal(state.values, [0.0, 1.0])


def test_no_counts_at_all() -> None:
    models = Models([point_source(), background("one", min=0.5)])
    dataset = make_dataset("one")
    layout = layout_of(models, {"one": dataset.geometry.energy_axis_true.edges})
    condensed = condense(dataset, models, layout)
    at = start(layout, models)
    state = condensed.nuisances(at)[0]
    assert state.values[0] == 0.5
    assert state.at_limit[0] == -1
    assert condensed.evaluate(Request.at(at)).stat[0] == pytest.approx(
        full_sum(dataset, condensed, models, at), rel=1e-12
    )


def test_bins_without_background() -> None:
    """Counts there must come from the source; where none reaches they are a constant, and said so."""
    models = Models([point_source(), background("one")])
    dataset = observed(make_dataset("one"), models)
    values = np.array(dataset.background)
    values[:, 38:44, 37:43] = 0.0
    values[2, 5:15, 5:15] = 0.0
    dataset = dataset.with_arrays(background=values)
    layout = layout_of(models, {"one": dataset.geometry.energy_axis_true.edges})
    condensed = condense(dataset, models, layout)
    lonely = int(np.count_nonzero(np.asarray(dataset.counts)[2, 5:15, 5:15]))
    assert lonely > 0
    assert condensed.info.unexplained_bins == lonely
    assert any("nor a source" in text for text in condensed.info.warnings)
    points = random_points(layout, models, 3, 0.1)
    reply = condensed.evaluate(Request(points, 0))
    assert np.isfinite(reply.stat).all()
    check_derivatives([condensed], layout, points[0])
    for stat, point in zip(reply.stat, points, strict=True):
        assert stat == pytest.approx(full_sum(dataset, condensed, models, point), rel=1e-6)


def test_counts_without_any_prediction_are_refused_not_rated() -> None:
    models = Models([point_source(), background("one")])
    dataset = observed(make_dataset("one"), models)
    values = np.array(dataset.background)
    values[:, 36:46, 36:46] = 0.0
    dataset = dataset.with_arrays(background=values)
    layout = layout_of(models, {"one": dataset.geometry.energy_axis_true.edges})
    condensed = condense(dataset, models, layout)
    at = start(layout, models)
    bad = at.copy()
    bad[: layout.n_flux] *= -1.0
    reply = condensed.evaluate(Request(np.stack([at, bad])))
    assert np.isfinite(reply.stat[0])
    assert reply.stat[1] == np.inf
    assert reply.invalid[1] > 0
    assert not reply.gradient[1].any()
    expansion = reply.at(1, layout.size)
    assert expansion.stat == np.inf
    assert expansion.invalid == reply.invalid[1]


def test_a_source_moved_off_the_sky_is_an_invalid_point() -> None:
    models = Models([point_source(), background("one")])
    datasets = [observed(make_dataset("one", proj="TAN"), models)]
    layout = layout_of(models, {"one": datasets[0].geometry.energy_axis_true.edges})
    condensed = condense(datasets[0], models, layout)
    at = start(layout, models)
    at[layout.spatial_slice("point")] = (263.0, -20.0)
    reply = condensed.evaluate(Request.at(at))
    assert reply.stat[0] == np.inf
    assert reply.invalid[0] > 0


def test_a_point_that_is_not_a_number_is_invalid() -> None:
    models = Models([point_source(), background("one")])
    _, layout, (condensed,) = setup(models)
    for place in (0, layout.n_flux):
        at = start(layout, models)
        at[place] = np.nan
        reply = condensed.evaluate(Request(np.stack([at, start(layout, models)])))
        assert reply.stat[0] == np.inf
        assert np.isfinite(reply.stat[1])
        assert not reply.gradient[0].any()
        assert reply.gradient[1].any()


def test_a_strongly_negative_source_lifts_the_norm() -> None:
    models = Models([point_source(), background("one")])
    _, layout, (condensed,) = setup(models)
    at = start(layout, models)
    at[: layout.n_flux] *= -2.0
    reply = condensed.evaluate(Request.at(at))
    state = condensed.nuisances(at)[0]
    assert np.isfinite(reply.stat[0]) == (reply.invalid[0] == 0)
    if np.isfinite(reply.stat[0]):
        assert state.values[0] > 1.0


def test_negative_counts_and_a_bad_background_are_errors() -> None:
    models = Models([point_source(), background("one")])
    dataset = make_dataset("one")
    layout = layout_of(models, {"one": dataset.geometry.energy_axis_true.edges})
    counts = np.array(dataset.counts)
    counts[0, 0, 0] = -1
    with pytest.raises(DataError, match="negative"):
        condense(dataset.with_arrays(counts=counts), models, layout)
    with pytest.raises(DataError, match="no counts"):
        condense(dataset.with_arrays(counts=None), models, layout)
    values = np.array(dataset.background)
    values[1, 2, 3] = np.nan
    with pytest.raises(DataError, match="not finite"):
        condense(dataset.with_arrays(background=values), models, layout)


def test_the_anchor_is_checked() -> None:
    models = Models([gaussian(), background("one")])
    _, layout, (condensed,) = setup(models)
    at = start(layout, models)
    assert all(check.ok for check in condensed.check(at))
    moved = at.copy()
    moved[layout.spatial_slice("gauss")] += (0.0, 0.08, 0.0)
    (check,) = condensed.check(moved)
    assert not check.ok
    assert check.drift == pytest.approx(0.08, abs=1e-6)
    assert "moved" in check.reason
    grown = at.copy()
    grown[layout.spatial_slice("gauss")] += (0.0, 0.0, 0.1)
    (check,) = condensed.check(grown)
    assert not check.ok
    assert "window" in check.reason


def test_no_bias_from_where_a_source_lies_in_its_pixel() -> None:
    """Counts in closed form, so many that rounding them does not matter: the position comes back to 1e-3 of the
    error that 250 counts would leave.
    """
    allowed = 1e-3 * 0.05 / np.sqrt(250)
    dataset = make_dataset("one", exposure_slope=0.0, background=0.05)
    image = dataset.geometry.image
    y0, x0 = 40, 40
    edisp = np.asarray(dataset.edisp, dtype=float)[:, :, 0, 0]
    exposure = np.asarray(dataset.exposure, dtype=float)[:, 0, 0] * 1e6
    for dx, dy in ((0.0, 0.0), (0.25, 0.1), (0.5, 0.5), (-0.4, 0.3), (0.1, -0.5)):
        lon, lat = (float(v) for v in image.pix_to_sky(x0 + dx, y0 + dy))
        model = point_source(lon=lon, lat=lat)
        fluxes = model.spectral_model.integral_values(dataset.geometry.energy_axis_true.edges)
        plane = gaussian_image(81, np.array([[x0 + dx], [y0 + dy]]), np.ones(1), 0.05 / 0.02)
        background = 1e6 * np.asarray(dataset.background, dtype=float)
        expected = np.einsum("ke,k,yx->eyx", edisp, fluxes * exposure, plane) + background
        asimov = dataset.with_arrays(
            counts=np.rint(expected).astype(np.int32),
            background=background,
            exposure=np.broadcast_to(exposure[:, None, None], dataset.geometry.shapes["exposure"]),
        )
        start_lon, start_lat = (float(v) for v in image.pix_to_sky(x0 + 0.2, y0 - 0.1))
        models = Models([point_source(lon=start_lon, lat=start_lat), frozen_background("one")])
        layout = layout_of(models, {"one": dataset.geometry.energy_axis_true.edges})
        condensed = condense(asimov, models, layout)
        at = start(layout, models)
        place = layout.spatial_slice("point")
        for _ in range(6):
            found = condensed.evaluate(Request.at(at)).at(0, layout.size)
            at[place] -= np.linalg.solve(found.hessian[place, place], found.gradient[place])
        offset = (at[place] - (lon, lat)) * (np.cos(np.radians(lat)), 1.0)
        assert np.abs(offset).max() < allowed, (dx, dy)


def frozen_background(name: str) -> FoVBackgroundModel:
    model = background(name)
    model.freeze()
    return model


def test_the_statistic_is_smooth_in_the_position() -> None:
    """Along two pixels around the minimum its second differences have one sign."""
    models = Models([point_source(amplitude=2e-11), background("one")])
    _, layout, (condensed,) = setup(models)
    at = start(layout, models)
    place = layout.spatial_slice("point")
    for axis in (0, 1):
        points = np.tile(at, (81, 1))
        points[:, place.start + axis] += np.linspace(-0.02, 0.02, 81)
        stats = condensed.evaluate(Request(points, 0)).variable
        assert (np.diff(stats, 2) > 0).all()


def test_layout_places_and_names() -> None:
    layout = Layout(
        (FluxBlock("a", (1.0, 2.0, 4.0)), FluxBlock("b", (1.0, 2.0, 4.0))),
        (SpatialBlock("b", ("lon_0",)),),
        (SharedNuisance("n", (("one", "norm"), ("two", "norm"))),),
    )
    assert layout.size == 6
    assert layout.flux_slice("b", (1.0, 2.0 + 1e-9, 4.0)) == slice(2, 4)
    assert layout.flux_slice("b", (1.0, 2.0)) is None
    assert layout.spatial_slice("b") == slice(4, 5)
    assert layout.spatial_slice("a") is None
    assert layout.nuisance_index("two", "norm") == 5
    assert layout.nuisance_index("two", "tilt") is None
    assert layout.names == ("a:flux[0]", "a:flux[1]", "b:flux[0]", "b:flux[1]", "b:lon_0", "n")


def test_replies_are_small() -> None:
    models = Models([gaussian(), background("one")])
    _, layout, (condensed,) = setup(models, true_bins=20)
    assert condensed.evaluate(Request.at(start(layout, models))).nbytes <= 4096
