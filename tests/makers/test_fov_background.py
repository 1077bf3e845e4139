"""The norm of the background from the field of view: its value, its errors, and when it is refused."""

import numpy as np
import pytest
from scipy.optimize import minimize

from gammaflow.errors import ConfigError, GeometryError
from gammaflow.makers import ExclusionMask, FoVBackgroundMaker, MapDatasetMaker, SafeMaskMaker
from gammaflow.makers.background.norm_fit import EnergySums, fit_norm
from gammaflow.maps import WcsGeom, lonlat_to_vectors, separation
from gammaflow.modeling import FoVBackgroundModel, PowerLawNormSpectralModel
from tests.makers import small

CENTER = np.sqrt(np.geomspace(0.5, 50, 7)[1:] * np.geomspace(0.5, 50, 7)[:-1])


@pytest.fixture(scope="module")
def dataset():
    observation = small.observation()
    made = MapDatasetMaker().make(small.geometry(), observation, "obs-7")
    return SafeMaskMaker(["offset-max"], offset_max=1.8).run(made, observation)


def excluded(geometry, radius):
    image = geometry.image
    distance = separation(image.pixel_vectors(), lonlat_to_vectors(small.RA + 0.4, small.DEC))
    return ExclusionMask(image, distance >= radius)


def free_tilt():
    model = PowerLawNormSpectralModel()
    model.tilt.frozen = False
    return model


@pytest.mark.parametrize("method", ["scale", "fit"])
def test_the_norm_is_the_ratio_of_counts_to_background_outside_of_the_exclusion(dataset, method):
    exclusion = excluded(dataset.geometry, 0.5)
    mask_fit = np.ones(dataset.geometry.shapes["mask_fit"], dtype=bool)
    mask_fit[0] = False
    given = dataset.with_arrays(mask_fit=mask_fit)
    result = FoVBackgroundMaker(method, exclusion).run(given)
    mask = given.array("mask_safe") & mask_fit & exclusion.data
    counts = given.array("counts")[mask].sum()
    background = given.array("background")[mask].sum(dtype=np.float64)
    norm = result.models.parameters["norm"]
    assert norm.value == pytest.approx(counts / background, rel=1e-13)
    assert norm.error == pytest.approx(np.sqrt(counts) / background, rel=1e-13)
    assert result.models.name == "obs-7-bkg"
    assert result.observations["background_norm"].tolist() == [norm.value]
    assert result.observations["background_tilt"].tolist() == [0.0]
    assert np.isnan(given.observations["background_norm"]).all()
    for name in ("mask_safe", "mask_fit", "counts", "background"):
        np.testing.assert_array_equal(result.array(name), given.array(name))
    assert result.npred_background().values[mask].sum() == pytest.approx(counts)


def test_a_model_that_is_there_is_adjusted(dataset):
    model = PowerLawNormSpectralModel(norm=3.0, tilt=0.4)
    given = dataset.copy()
    given.models = FoVBackgroundModel(model, dataset_name="obs-7")
    for method in ("scale", "fit"):
        result = FoVBackgroundMaker(method).run(given)
        mask = given.array("mask_safe")
        assert result.npred_background().values[mask].sum() == pytest.approx(
            given.array("counts")[mask].sum()
        )
        assert result.models.parameters["tilt"].value == 0.4
    assert given.models.parameters["norm"].value == 3.0


def sums(seed=3, scale=1.0):
    rng = np.random.default_rng(seed)
    background = scale * 1e3 * CENTER**-1.6
    return EnergySums(rng.poisson(0.8 * background * CENTER**-0.15).astype(float), background, CENTER)


def cash(data, norm, tilt):
    npred = data.background * norm * data.energy**-tilt
    return 2 * np.sum(npred - data.counts * np.log(npred))


@pytest.mark.parametrize("scale", [0.02, 1.0, 1e4])
def test_norm_and_tilt_are_at_the_minimum_with_the_errors_of_its_curvature(scale):
    data = sums(scale=scale)
    model = FoVBackgroundModel(free_tilt(), dataset_name="d")
    result = fit_norm(data, model)
    assert result.success
    tilt, norm = result.values
    found = minimize(
        lambda p: cash(data, np.exp(p[0]), p[1]),
        [0.0, 0.0],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000},
    )
    np.testing.assert_allclose([np.log(norm), tilt], found.x, atol=2e-5)
    # The exact Hessian of half the statistic in (norm, tilt)
    log = np.log(data.energy)
    npred = data.background * norm * data.energy**-tilt
    mixed = -(log * npred).sum() / norm
    hessian = np.array([[data.counts.sum() / norm**2, mixed], [mixed, (log**2 * npred).sum()]])
    errors = np.sqrt(np.diag(np.linalg.inv(hessian)))
    np.testing.assert_allclose(result.errors, errors[::-1], rtol=1e-5)
    assert model.parameters["norm"].value == norm
    assert model.parameters["tilt"].error == result.errors[0]


def test_a_far_start_converges_to_the_same_minimum():
    near = FoVBackgroundModel(free_tilt(), dataset_name="d")
    far = near.copy()
    far.parameters["norm"].value, far.parameters["tilt"].value = 60.0, -4.0
    first, second = fit_norm(sums(), near), fit_norm(sums(), far)
    assert second.success
    np.testing.assert_allclose(second.values, first.values, rtol=1e-8)


def test_a_tilt_that_nothing_determines_fails_and_says_so():
    one = EnergySums(np.array([50.0]), np.array([40.0]), np.array([1.0]))
    result = fit_norm(one, FoVBackgroundModel(free_tilt(), dataset_name="d"))
    assert not result.success
    assert result.message


def test_a_norm_outside_of_its_limits_fails():
    model = FoVBackgroundModel(dataset_name="d")
    model.parameters["norm"].min, model.parameters["norm"].max = 0.9, 1.1
    result = fit_norm(sums(), model)
    assert not result.success
    assert "norm" in result.message
    assert model.parameters["norm"].value == 1.0


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        (lambda d: d.with_arrays(counts=d.array("counts") * 0), {}, "only 0 counts"),
        (lambda d: d.with_arrays(background=d.array("background") * 0), {}, "not a finite norm"),
        (lambda d: d, {"min_counts": 1e9}, "counts outside the exclusion mask"),
        (lambda d: d, {"min_npred_background": 1e9}, "background counts outside the exclusion mask"),
        (
            lambda d: d.with_arrays(mask_safe=np.zeros(d.geometry.shapes["mask_safe"], bool)),
            {},
            "no bin was safe",
        ),
    ],
)
@pytest.mark.parametrize("method", ["scale", "fit"])
def test_where_there_is_no_norm_nothing_is_safe_and_the_reason_is_kept(
    dataset, change, options, reason, method, caplog
):
    result = FoVBackgroundMaker(method, **options).run(change(dataset))
    assert not result.array("mask_safe").any()
    assert reason in result.meta["background_failure"]
    assert "obs-7" in caplog.text
    assert result.models.parameters["norm"].value == 1.0
    assert "background_failure" not in dataset.meta


@pytest.mark.parametrize("method", ["scale", "fit"])
def test_an_exclusion_mask_over_the_whole_field_is_told_by_name(dataset, method, caplog):
    """One over everything is refused at once; one that is just larger than this observation makes it unsafe."""
    image = dataset.geometry.image
    nothing = ExclusionMask(image, np.zeros(image.shape_image, dtype=bool))
    with pytest.raises(ConfigError, match=r"FoVBackgroundMaker: the exclusion mask covers the whole map"):
        FoVBackgroundMaker(method, nothing)
    elsewhere = WcsGeom.create((small.RA + 20, small.DEC), binsz=0.1, width=(3, 3))
    far = ExclusionMask(elsewhere, np.ones(elsewhere.shape_image, dtype=bool))
    result = FoVBackgroundMaker(method, far).run(dataset)
    assert not result.array("mask_safe").any()
    assert "the exclusion mask covers every safe bin" in result.meta["background_failure"]
    assert "obs-7: the background cannot be measured" in caplog.text


def test_a_fit_that_fails_makes_nothing_safe(dataset):
    result = FoVBackgroundMaker("fit", spectral_model=model_with_limits()).run(dataset)
    assert not result.array("mask_safe").any()
    assert "did not converge" in result.meta["background_failure"]


def model_with_limits():
    model = free_tilt()
    model.tilt.min, model.tilt.max = -1e-9, 1e-9
    return model


def test_bins_that_are_not_finite_do_not_count(dataset):
    background = dataset.array("background").copy()
    background[2, 10, 10] = np.nan
    counts = dataset.array("counts").copy()
    result = FoVBackgroundMaker().run(dataset.with_arrays(background=background))
    mask = dataset.array("mask_safe") & np.isfinite(background)
    total = background[mask].sum(dtype=np.float64)
    # Their counts are counted, as one bin of many thousand does not matter
    assert result.models.parameters["norm"].value == pytest.approx(counts[mask].sum() / total, rel=1e-3)


def test_an_exclusion_mask_is_looked_up_by_pixel_and_excludes_what_it_does_not_cover(dataset):
    geometry = dataset.geometry
    whole = excluded(geometry, 0.5)
    cut = geometry.cutout(geometry.image.center_vector, 2.0)
    np.testing.assert_array_equal(whole.on(cut.geom), whole.data[cut.image.slices_in(geometry.image)])
    other = WcsGeom.create((small.RA, small.DEC), binsz=0.02, width=(3, 9), proj="TAN")
    fine = ExclusionMask(other, np.ones(other.shape_image, dtype=bool))
    covered = fine.on(geometry.geom)
    x, _ = other.vectors_to_pix(geometry.image.pixel_vectors())
    np.testing.assert_array_equal(covered, (x > -0.5) & (x < other.npix[0] - 0.5))
    with pytest.raises(GeometryError, match="exclusion mask"):
        ExclusionMask(other, np.ones((2, 2), dtype=bool))


def test_counts_and_background_are_needed():
    dataset = MapDatasetMaker(selection=["counts"]).make(small.geometry(), small.observation(), "obs")
    with pytest.raises(ConfigError, match="dataset obs"):
        FoVBackgroundMaker().run(dataset)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"method": "guess"}, "guess"), ({"spatial_model": "const"}, "spatial_model")],
)
def test_wrong_arguments_are_refused(arguments, named):
    with pytest.raises(ConfigError, match=named):
        FoVBackgroundMaker(**arguments)
