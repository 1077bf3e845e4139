"""Models in YAML: Gammapy's files, round trips, and what is said about mistakes."""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from gammaflow.errors import ConfigError
from gammaflow.modeling import (
    FoVBackgroundModel,
    GaussianPrior,
    Model,
    Models,
    Parameter,
    SkyModel,
    SpectralModel,
    TemplateSpatialModel,
)
from gammaflow.modeling.model import REGISTRY
from tests.modeling.catalogue import REFERENCE, ebl, reference, spectral_cases


@pytest.fixture
def gammapys() -> Models:
    return Models.read(REFERENCE / "models_gammapy.yaml")


def test_gammapys_file_means_the_same(gammapys: Models) -> None:
    energy = reference()["energy"] * u.TeV
    for name, values in reference()["file_values"].items():
        assert_allclose(gammapys[name].spectral_model(energy).value, values, rtol=1e-12)
    first, second = gammapys["first"], gammapys["second"]
    assert second.spectral_model.index is first.spectral_model.index
    assert first.spectral_model.amplitude.prior == GaussianPrior(mu=1e-12, sigma=2e-13)
    assert first.spectral_model.index.bounds == (1, 4)
    assert first.frame == "galactic"
    assert (first.spatial_model.sigma.value, first.spatial_model.sigma.unit) == (6, u.arcmin)
    assert first.spatial_model.sigma.min == pytest.approx(0.5)
    assert second.spectral_model.lambda_.frozen
    assert second.datasets_names == ["data-1"]
    assert gammapys["product"].apply_irf == {"exposure": True, "psf": False, "edisp": True}
    assert_allclose(gammapys["product"].parameters.value[:3], [1, 2, 0.5])
    assert gammapys["absorbed"].parameters["alpha_norm"].value == 1.1
    assert gammapys.background_models["data-1"].parameters["norm"].value == 1.1
    assert not gammapys.background_models["data-1"].parameters["tilt"].frozen


def test_gammapys_covariance_is_read(gammapys: Models) -> None:
    n = len(gammapys.parameters)
    variances = np.linspace(1, 2, n) ** 2
    errors = gammapys.covariance.errors
    unlinked = [i for i, p in enumerate(gammapys.parameters) if p.link is None]
    assert_allclose(errors[unlinked] ** 2, variances[unlinked])


@pytest.mark.parametrize("full_output", [False, True])
def test_what_is_written_comes_back(gammapys: Models, tmp_path: Path, full_output: bool) -> None:
    size = len(gammapys.parameters)
    half = np.random.default_rng(3).normal(size=(size, size))
    gammapys["second"].spectral_model.index = Parameter("index", 2.0)
    gammapys.covariance = half @ half.T
    gammapys["second"].spectral_model.index.link = None
    gammapys.write(tmp_path / "models.yaml", full_output=full_output)
    back = Models.read(tmp_path / "models.yaml")
    assert back.to_yaml(True) == gammapys.to_yaml(True)
    assert np.array_equal(back.covariance.data, gammapys.covariance.data)
    assert back.to_yaml() == Models.from_yaml(back.to_yaml()).to_yaml()
    with pytest.raises(ConfigError, match="is there already"):
        gammapys.write(tmp_path / "models.yaml")
    gammapys.write(tmp_path / "models.yaml", overwrite=True, write_covariance=False)
    assert "covariance" not in yaml.safe_load((tmp_path / "models.yaml").read_text())
    assert not list(tmp_path.glob(".*"))


def every_model() -> list[SkyModel | FoVBackgroundModel]:
    spectra = [model for _, model, _ in spectral_cases()]
    spectra = [Model.create("pl", "spectral") * m if m.is_norm_spectral_model else m for m in spectra]
    shapes = [cls() for cls in set(REGISTRY["spatial"].values()) if cls is not TemplateSpatialModel]
    times = [cls() for cls in set(REGISTRY["temporal"].values())]
    return [
        *(SkyModel(m, name=f"spectral-{i}") for i, m in enumerate(spectra)),
        *(SkyModel(Model.create("pl", "spectral"), m, name=f"spatial-{i}") for i, m in enumerate(shapes)),
        *(
            SkyModel(Model.create("pl", "spectral"), None, m, name=f"temporal-{i}")
            for i, m in enumerate(times)
        ),
        FoVBackgroundModel(dataset_name="d", name="named"),
    ]


@pytest.mark.parametrize("full_output", [False, True])
def test_every_kind_of_model_round_trips(full_output: bool) -> None:
    models = Models(every_model())
    back = Models.from_yaml(models.to_yaml(full_output))
    assert back.to_yaml(True) == models.to_yaml(True)
    assert back.names == models.names
    assert [type(m) for m in back] == [type(m) for m in models]


@given(
    index=st.floats(-5, 5),
    amplitude=st.floats(1e-20, 1e-5),
    frozen=st.booleans(),
    limits=st.one_of(st.none(), st.tuples(st.floats(-9, -5), st.floats(5, 9))),
    unit=st.sampled_from(["TeV-1 s-1 cm-2", "MeV-1 s-1 cm-2", "GeV-1 s-1 m-2"]),
    prior=st.one_of(st.none(), st.builds(GaussianPrior, mu=st.floats(-3, 3), sigma=st.floats(0.1, 3))),
)
@settings(max_examples=40, deadline=None)
def test_numbers_come_back_to_the_last_bit(index, amplitude, frozen, limits, unit, prior) -> None:
    source = SkyModel.create("pl", "point", name="s")
    index_parameter, amplitude_parameter = source.spectral_model.index, source.spectral_model.amplitude
    index_parameter.value = index
    index_parameter.frozen = frozen
    index_parameter.prior = prior
    if limits:
        index_parameter.set_lim(*limits)
    amplitude_parameter.quantity = amplitude * u.Unit(unit)
    back = Models.from_yaml(Models([source]).to_yaml())["s"]
    assert Models([back]).to_yaml(True) == Models([source]).to_yaml(True)
    assert back.spectral_model.amplitude.unit == u.Unit(unit)


def test_a_template_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = TemplateSpatialModel.read(REFERENCE / "models_template_image.fits")
    template.write(tmp_path / "map.fits")
    Models([SkyModel(Model.create("pl", "spectral"), template, name="t")]).write(tmp_path / "models.yaml")
    written = yaml.safe_load((tmp_path / "models.yaml").read_text())
    assert written["components"][0]["spatial"]["filename"] == "map.fits"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    back = Models.read(tmp_path / "models.yaml")
    assert_allclose(back["t"].spatial_model.map.data, template.map.data, rtol=1e-12)
    monkeypatch.setenv("TEMPLATES", str(tmp_path))
    text = (tmp_path / "models.yaml").read_text().replace("map.fits", "$TEMPLATES/map.fits")
    again = Models.from_yaml(text.replace("covariance: models_covariance.dat\n", ""))
    assert again["t"].to_dict()["spatial"]["filename"] == "$TEMPLATES/map.fits"


def test_an_ebl_table_in_a_file(tmp_path: Path) -> None:
    from astropy.io import fits

    model = ebl()
    energy = model.energy.to_value("keV")
    edges = np.concatenate([[energy[0] ** 1.5 / energy[1] ** 0.5], np.sqrt(energy[1:] * energy[:-1]), [0]])
    edges[-1] = energy[-1] ** 2 / edges[-2]
    parameters = fits.BinTableHDU.from_columns(
        [
            fits.Column("NAME", "12A", array=["REDSHIFT"]),
            fits.Column("VALUE", "4E", array=[model.param.value]),
        ],
        name="PARAMETERS",
    )
    energies = fits.BinTableHDU.from_columns(
        [
            fits.Column("ENERG_LO", "D", array=energy**2 / edges[1:]),
            fits.Column("ENERG_HI", "D", array=edges[1:]),
        ],
        name="ENERGIES",
    )
    spectra = fits.BinTableHDU.from_columns(
        [
            fits.Column("PARAMVAL", "E", array=model.param.value),
            fits.Column("INTPSPEC", f"{energy.size}D", array=model.data.value),
        ],
        name="SPECTRA",
    )
    path = tmp_path / "ebl.fits"
    fits.HDUList([fits.PrimaryHDU(), parameters, energies, spectra]).writeto(path)
    read = type(model).read(path, redshift=0.25, alpha_norm=0.8)
    at = np.geomspace(0.05, 30, 9)
    assert_allclose(read.values(at), model.values(at), rtol=1e-6)
    source = SkyModel(Model.create("pl", "spectral") * read, name="blazar")
    back = Models.from_yaml(Models([source]).to_yaml())
    assert_allclose(back["blazar"].spectral_model.values(at), source.spectral_model.values(at), rtol=1e-14)
    with pytest.raises(ConfigError, match="no such file"):
        type(model).read(tmp_path / "none.fits")
    with pytest.raises(ConfigError, match="unknown EBL table"):
        type(model).read_builtin("domingues")


GOOD = """
components:
-   name: gc
    type: SkyModel
    spectral:
        type: PowerLawSpectralModel
        parameters:
        -   {name: index, value: 2.4}
        -   {name: amplitude, value: 1e-12, unit: cm-2 s-1 TeV-1}
        -   {name: reference, value: 1, unit: TeV}
    spatial:
        type: PointSpatialModel
        frame: galactic
        parameters:
        -   {name: lon_0, value: 0.1, unit: deg}
        -   {name: lat_0, value: -0.1, unit: deg}
-   type: FoVBackgroundModel
    datasets_names: [data]
"""


def test_a_file_written_by_hand() -> None:
    models = Models.from_yaml(GOOD)
    # YAML reads 1e-12 without a point as text
    assert models["gc"].spectral_model.amplitude.value == 1e-12
    assert models["data-bkg"].parameters["norm"].value == 1


def test_what_is_frozen_by_default_may_be_left_out(caplog: pytest.LogCaptureFixture) -> None:
    models = Models.from_yaml(GOOD.replace("-   {name: reference, value: 1, unit: TeV}", ""))
    assert models["gc"].spectral_model.reference.quantity == 1 * u.TeV
    assert "'reference' is not given: frozen at 1.0 TeV" in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "PowerLawSpectralModel",
            "PowerLawSpectralMode",
            r"component 0 \('gc'\).*did you mean 'PowerLawSpectralModel'",
        ),
        (
            "PointSpatialModel",
            "PointSource",
            r"component 0 \('gc'\).*unknown spatial model type 'PointSource'",
        ),
        ("type: SkyModel", "type: SkyModl", "unknown model type 'SkyModl', did you mean 'SkyModel'"),
        ("type: SkyModel", "kind: SkyModel", r"component 0 \('gc'\): has no type"),
        ("-   {name: index, value: 2.4}", "", "parameter 'index' is missing"),
        ("{name: index, value: 2.4}", "{name: index}", "parameter 'index': has no value"),
        (
            "{name: index, value: 2.4}",
            "{name: indx, value: 2.4}",
            "unknown parameter 'indx', did you mean 'index'",
        ),
        ("value: 2.4}", "value: 2.4, froze: true}", "unknown key 'froze', did you mean 'frozen'"),
        ("value: 2.4}", "value: .nan}", "value is nan"),
        ("value: 2.4}", "value: high}", "no number"),
        ("value: 2.4}", "value: 2.4, max: 2}", "outside its limits"),
        ("value: 2.4}", "value: 2.4, frozen: yess}", "frozen is 'yess'"),
        ("value: 2.4}", "value: 2.4, prior: {type: GausianPrior}}", "Did you mean 'GaussianPrior'"),
        (
            "unit: cm-2 s-1 TeV-1",
            "unit: cm-2 s-1",
            r"PowerLawSpectralModel: parameter 'amplitude': unit 's-1 cm-2'",
        ),
        ("unit: cm-2 s-1 TeV-1", "unit: cm-2 s-1 Tev-1", "is not known"),
        ("frame: galactic", "frame: galctic", "frame 'galctic' is not known"),
        ("frame: galactic", "fram: galactic", "unknown key 'fram', did you mean 'frame'"),
        ("    spatial:", "    spacial:", "unknown key 'spacial', did you mean 'spatial'"),
        ("-   name: gc\n    type", "-   type", "has no name"),
        ("datasets_names: [data]", "datasets_names: [a, b]", "component 1.*exactly one dataset"),
        ("datasets_names: [data]", "datasets_names: [data]\n    name: gc", "two models are named 'gc'"),
        ("components:", "component:", "unknown key 'component', did you mean 'components'"),
        ("components:", "- components:", "is no YAML|holds no"),
        ("[data]", "[data", "is no YAML"),
        ("components:", "covariance: none.dat\ncomponents:", "covariance file 'none.dat' is not there"),
    ],
)
def test_mistakes_are_explained(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path = tmp_path / "models.yaml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message) as caught:
        Models.read(path)
    assert str(path) in str(caught.value)


def test_links_with_different_values_are_refused() -> None:
    models = Models([SkyModel.create("pl", name="a"), SkyModel.create("pl", name="b")])
    models["b"].spectral_model.index = models["a"].spectral_model.index
    data = yaml.safe_load(models.to_yaml())
    assert Models.from_dict(data)["a"].spectral_model.index.link == "index@1"
    data["components"][1]["spectral"]["parameters"][0]["value"] = 3
    with pytest.raises(ConfigError, match=r"model 'b': parameter 'index'.*whose value is 2, not 3"):
        Models.from_dict(data)


def test_the_covariance_of_other_models_is_refused(tmp_path: Path) -> None:
    Models([SkyModel.create("pl", name="a")]).write(tmp_path / "a.yaml")
    Models([SkyModel.create("pl", name="b")]).write(tmp_path / "b.yaml")
    (tmp_path / "b_covariance.dat").write_text((tmp_path / "a_covariance.dat").read_text())
    with pytest.raises(ConfigError, match="covariance of 3 other parameters"):
        Models.read(tmp_path / "b.yaml")
    (tmp_path / "b_covariance.dat").write_text("nonsense")
    with pytest.raises(ConfigError, match="no covariance file"):
        Models.read(tmp_path / "b.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models\.yaml: cannot be read: No such file"):
        Models.read(tmp_path / "models.yaml")


class Wiggle(SpectralModel):
    """A user's model with a place in files."""

    tag = ("WiggleSpectralModel", "test-wiggle")
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1")
    phase = Parameter("phase", "10 deg")

    @staticmethod
    def evaluate(energy, amplitude, phase):
        return amplitude * (2 + np.sin(np.log(energy) + np.radians(phase)))


def test_a_users_model_in_a_file() -> None:
    models = Models([SkyModel(Wiggle(phase="0.3 rad"), name="w")])
    back = Models.from_yaml(models.to_yaml())
    assert isinstance(back["w"].spectral_model, Wiggle)
    assert back["w"].spectral_model.phase.unit == u.rad
    at = np.array([0.5, 3.0])
    assert_allclose(back["w"].spectral_model.values(at), 1e-8 * (2 + np.sin(np.log(at) + 0.3)), rtol=1e-12)
    assert SkyModel.create("test-wiggle", name="x").spectral_model.tag[0] == "WiggleSpectralModel"


class Untagged(Wiggle):
    """A subclass that forgot its tag."""


def test_a_class_without_a_tag_of_its_own_is_not_written_as_its_base() -> None:
    assert Untagged(phase="20 deg").integral(1 * u.TeV, 2 * u.TeV) > 0
    with pytest.raises(ConfigError, match="no tag of its own"):
        Models([SkyModel(Untagged(), name="u")]).to_yaml()


def test_a_tag_belongs_to_one_class() -> None:
    with pytest.raises(ConfigError, match="tag 'test-wiggle' is that of Wiggle"):
        type("Other", (SpectralModel,), {"tag": ("OtherSpectralModel", "test-wiggle")})
