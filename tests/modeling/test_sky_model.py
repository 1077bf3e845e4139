"""Sources, backgrounds, and collections of them."""

from __future__ import annotations

import pickle

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.time import Time
from numpy.testing import assert_allclose

from gammaflow.errors import ModelError
from gammaflow.modeling import (
    FoVBackgroundModel,
    GaussianSpatialModel,
    LogParabolaNormSpectralModel,
    Model,
    Models,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
)


def collection() -> Models:
    return Models(
        [
            SkyModel.create("ecpl", "gauss", name="extended"),
            SkyModel.create("pl", "point", name="crab", datasets_names=["d1"]),
            FoVBackgroundModel(dataset_name="d1"),
            FoVBackgroundModel(dataset_name="d2", name="other"),
        ]
    )


def test_a_source_is_the_product_of_its_parts() -> None:
    source = SkyModel(
        PowerLawSpectralModel(), GaussianSpatialModel(sigma="0.2 deg"), Model.create("exp-decay", "temporal")
    )
    time = Time(51545.0, format="mjd")
    value = source(0.1 * u.deg, 0 * u.deg, 2 * u.TeV, time)
    expected = source.spectral_model(2 * u.TeV) * source.spatial_model(0.1 * u.deg, 0 * u.deg) * np.exp(-1)
    assert value.to_value("cm-2 s-1 TeV-1 sr-1") == pytest.approx(expected.value, rel=1e-9)
    assert source.parameters.names[:3] == ["index", "amplitude", "reference"]
    assert source.parameter_names[3] == "spatial.lon_0"
    assert source.parameter_names[-2:] == ["temporal.t0", "temporal.t_ref"]
    assert len(source.name) == 8


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda: SkyModel(PowerLawNormSpectralModel(), name="x"), "x.*where .* is needed"),
        (lambda: SkyModel(GaussianSpatialModel()), "given as spectral model"),
        (lambda: SkyModel(PowerLawSpectralModel(), PowerLawSpectralModel()), "given as spatial model"),
        (lambda: SkyModel(PowerLawSpectralModel(), apply_irf={"edispp": True}), "apply_irf names 'edispp'"),
        (lambda: SkyModel.create("pll"), "unknown spectral model type 'pll', did you mean"),
        (lambda: Model.create("point", "spectral"), "Known types: .*PowerLawSpectralModel"),
        (lambda: Model.create("pl", "spectrum"), "unknown kind of model"),
        (lambda: FoVBackgroundModel(PowerLawSpectralModel(), dataset_name="d"), "as norm of a background"),
        (lambda: FoVBackgroundModel(), "without a dataset"),
        (lambda: Models([PowerLawSpectralModel()]), "neither a SkyModel nor"),
        (lambda: Models(2 * [SkyModel.create("pl", name="a")]), "two models are named 'a'"),
        (
            lambda: Models([FoVBackgroundModel(dataset_name="d", name=n) for n in "ab"]),
            "'d' has two background models",
        ),
    ],
)
def test_what_does_not_fit_is_refused(action, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        action()


def test_a_source_without_exposure_is_in_counts() -> None:
    counts = Model.create("const", "spectral", const="3 TeV-1")
    SkyModel(counts, apply_irf={"exposure": False})
    with pytest.raises(ModelError, match="is needed"):
        SkyModel(counts)


def test_background_factors() -> None:
    model = FoVBackgroundModel(
        PowerLawNormSpectralModel(norm=1.3, tilt=0.2, reference="2 TeV"), dataset_name="d"
    )
    energy = np.array([0.5, 2.0, 9.0])
    assert_allclose(model.evaluate(energy), 1.3 * (energy / 2) ** -0.2)
    values, gradient = model.evaluate_and_gradient(energy)
    assert_allclose(values, model.evaluate(energy))
    # tilt, norm, reference
    assert_allclose(gradient[1], values / 1.3)
    assert_allclose(gradient[0], -np.log(energy / 2) * values)
    model.reset_to_default()
    assert_allclose(model.evaluate(energy), 1)
    assert FoVBackgroundModel("d").name == "d-bkg"
    assert model.copy(dataset_name="e").name == "e-bkg"
    assert model.copy(dataset_name="e").datasets_names == ["e"]
    parabola = FoVBackgroundModel(LogParabolaNormSpectralModel(norm=2), dataset_name="d")
    assert_allclose(parabola.evaluate(energy), 2)
    assert Model.from_dict(model.to_dict()).to_dict() == model.to_dict()


def test_a_collection_is_a_list_with_names() -> None:
    models = collection()
    assert models.names == ["extended", "crab", "d1-bkg", "other"]
    assert models["crab"] is models[1]
    assert "crab" in models
    assert models[:2].names == ["extended", "crab"]
    assert models[np.array([True, False, False, True])].names == ["extended", "other"]
    assert models.background_models["d2"].name == "other"
    assert len(models.sky_models) == 2
    models["crab"] = SkyModel.create("lp", "disk", name="new")
    assert models.names[1] == "new"
    del models["other"]
    models.insert(0, SkyModel.create("pl", "point", name="first"))
    assert models.names == ["first", "extended", "new", "d1-bkg"]
    with pytest.raises(ModelError, match="two models are named"):
        models.append(SkyModel.create("pl", name="new"))
    assert len(models) == 4
    with pytest.raises(ModelError, match=r"no model 'crab'.*There are first"):
        models["crab"]
    both = models + SkyModel.create("pl", name="last")
    assert both.names[-1] == "last"
    assert (both["last"] + both["first"]).names == ["last", "first"]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"name_substring": "rab"}, ["crab"]),
        ({"datasets_names": "d2"}, ["extended", "other"]),
        ({"datasets_names": ["d1", "d2"]}, ["extended", "crab", "d1-bkg", "other"]),
        ({"tag": "sky-model"}, ["extended", "crab"]),
        ({"tag": ["pl", "pl-norm"], "model_type": "spectral"}, ["crab", "d1-bkg", "other"]),
        ({"tag": "point", "model_type": "spatial"}, ["crab"]),
        ({"frozen": True}, ["other"]),
    ],
)
def test_selection(conditions: dict, expected: list[str]) -> None:
    models = collection()
    models["other"].freeze()
    assert models.select(**conditions).names == expected


def test_freezing_by_kind() -> None:
    models = collection()
    models.freeze("spatial")
    free = models.parameters.free_parameters
    assert "lon_0" not in free.names
    assert "index" in free.names
    models.freeze()
    assert models.frozen
    models.unfreeze()
    assert not models["extended"].spatial_model.sigma.frozen
    assert models["extended"].spatial_model.e.frozen
    assert models["d1-bkg"].parameters["tilt"].frozen


def test_links_survive_copies_and_workers() -> None:
    models = collection()
    models["crab"].spectral_model.index = models["extended"].spectral_model.index
    for copied in (models.copy(), pickle.loads(pickle.dumps(models))):
        shared = copied["crab"].spectral_model.index
        assert shared is copied["extended"].spectral_model.index
        assert shared is not models["crab"].spectral_model.index
        assert len(copied.parameters.unique_parameters) == len(copied.parameters) - 1
        assert copied.to_dict() == models.to_dict()


def test_a_dataset_gets_another_name() -> None:
    renamed = collection().reassign("d1", "d9")
    assert renamed["crab"].datasets_names == ["d9"]
    assert "d9" in renamed.background_models
    assert collection()["extended"].belongs_to("anything")
    assert not renamed["crab"].belongs_to("d1")


def test_the_table_of_parameters() -> None:
    models = collection()
    table = models.to_parameters_table()
    assert list(table["model"][:2]) == ["extended", "extended"]
    assert set(table["type"]) == {"spectral", "spatial"}
    table["value"][0] = 2.7
    table["frozen"][1] = True
    models.update_parameters_from_table(table)
    assert models["extended"].spectral_model.index.value == 2.7
    assert models["extended"].spectral_model.amplitude.frozen


def test_positions_and_text() -> None:
    models = collection()
    models["crab"].spatial_model.position = SkyCoord(83.6, 22, unit="deg")
    assert_allclose(models.positions.ra.deg, [0, 83.6])
    text = str(models)
    assert "SkyModel 'crab'" in text
    assert "lambda_" in text
    with models.restore_status():
        models["crab"].parameters["index"].value = 5
    assert models["crab"].parameters["index"].value == 2
