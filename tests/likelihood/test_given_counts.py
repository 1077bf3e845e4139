"""Templates of counts: predicted, fitted, condensed, written and read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.io import fits

from gammaflow.datasets import MapDataset
from gammaflow.errors import ModelError, UnsupportedError
from gammaflow.fit import Fit
from gammaflow.likelihood import (
    Cash,
    FluxGrid,
    Request,
    condense,
    layout_of,
    mask_of,
    npred,
    npred_background,
    npred_signal,
    npred_source,
    stat_sum,
)
from gammaflow.maps import WcsGeom
from gammaflow.modeling import (
    CountsCube,
    FoVBackgroundModel,
    Model,
    Models,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    TemplateNPredModel,
)

from ..datasets.small import any_dataset
from .synthetic import make_dataset
from .test_condensed import point_source


def cube(dataset: MapDataset, scale: float = 0.4, part: tuple[slice, slice] | None = None) -> CountsCube:
    """Counts that fall with energy and towards one side, on the map of a dataset or on a part of it."""
    image, edges = dataset.geometry.image, dataset.geometry.energy_axis.edges
    ny, nx = image.shape_image
    y, x = np.mgrid[:ny, :nx]
    plane = scale * np.exp(-0.5 * ((x - 30) ** 2 + (y - 50) ** 2) / 15**2)
    data = plane * (np.arange(len(edges) - 1) + 1.0)[:, None, None] ** -1.0
    if part is not None:
        rows, columns = part
        header = {**image.header}
        header["CRPIX1"], header["CRPIX2"] = header["CRPIX1"] - columns.start, header["CRPIX2"] - rows.start
        header["NAXIS1"], header["NAXIS2"] = columns.stop - columns.start, rows.stop - rows.start
        header.pop("WCSSHAPE", None)
        image, data = WcsGeom.from_header(header), data[:, rows, columns]
    return CountsCube(image, np.array(edges), data.copy())


def template(
    dataset: MapDataset, norm: float = 1.0, tilt: float = 0.0, **kwargs: object
) -> TemplateNPredModel:
    spectral = PowerLawNormSpectralModel(norm=norm, tilt=tilt)
    return TemplateNPredModel(cube(dataset, **kwargs), spectral, name="known", datasets_names=dataset.name)


def drawn(dataset: MapDataset, models: Models, seed: int = 3) -> MapDataset:
    counts = np.random.default_rng(seed).poisson(npred(dataset, models))
    return dataset.with_arrays(counts=counts.astype(np.int32))


def test_counts_are_the_template_times_its_norm() -> None:
    dataset = make_dataset("one")
    model = template(dataset, norm=2.0, tilt=0.3)
    centers = dataset.geometry.energy_axis.center
    expected = model.map.data * 2.0 * (centers**-0.3)[:, None, None]
    np.testing.assert_allclose(npred_source(dataset, model), expected, rtol=1e-12)
    dataset.models = [model, point_source()]
    assert dataset.npred_signal().values.sum() == pytest.approx(
        expected.sum() + npred_source(dataset, point_source()).sum(), rel=1e-9
    )
    assert stat_sum(dataset, [model]) != stat_sum(dataset, [])


def test_a_part_of_the_map_lies_where_its_pixels_are() -> None:
    dataset = make_dataset("one")
    rows, columns = slice(40, 70), slice(10, 81)
    found = npred_source(dataset, template(dataset, part=(rows, columns)))
    whole = npred_source(dataset, template(dataset))
    np.testing.assert_array_equal(found[:, rows, columns], whole[:, rows, columns])
    assert found.sum() == pytest.approx(whole[:, rows, columns].sum())
    # the dataset may be the smaller one
    small = dataset.cutout(dataset.geometry.image.pix_to_vectors(30.0, 50.0), 0.4)
    inside = npred_source(small, template(dataset))
    assert inside.shape == small.geometry.shapes["counts"]
    place = tuple(small.geometry.image.slices_in(dataset.geometry.image))
    np.testing.assert_array_equal(inside, whole[(slice(None), *place)])


@pytest.mark.parametrize("part", [None, (slice(30, 70), slice(5, 60))])
def test_condensed_is_the_full_sum(part: tuple[slice, slice] | None) -> None:
    """Overlapping a source, with bins that nothing but the template explains, and some masked."""
    dataset = make_dataset("one")
    mask = np.ones(dataset.geometry.shapes["counts"], dtype=bool)
    mask[1:, 45:52, 20:33] = False
    background = np.array(dataset.background)
    background[:, 30:60, 10:35] = 0.0
    dataset = dataset.with_arrays(mask_safe=mask, background=background)
    known = template(dataset, 1.3, part=part)
    known.spectral_model.tilt.frozen = False
    source = point_source("point", position=False)
    models = Models([known, source, FoVBackgroundModel(dataset_name="one")])
    dataset = drawn(dataset, models)
    layout = layout_of(models, {"one": dataset.geometry.energy_axis_true.edges})
    condensed = condense(dataset, models, layout)
    place = {b.source: layout.flux_slice(b.source, FluxGrid(b.edges, b.differential)) for b in layout.flux}
    rng = np.random.default_rng(2)
    for _ in range(10):
        norms = rng.uniform(0.3, 2.0, 4)
        fluxes = source.spectral_model.integral_values(dataset.geometry.energy_axis_true.edges)
        point = np.zeros(layout.size)
        point[place["known"]], point[place["point"]] = norms, fluxes
        found = condensed.evaluate(Request(point[None], 0)).stat[0]
        norm = condensed.nuisances(point)[0].values[0]
        predicted = npred_source(dataset, source) + norm * npred_background(dataset)
        unit = npred_source(dataset, template(dataset, part=part))
        predicted += unit * norms[:, None, None]
        counts = np.asarray(dataset.counts, dtype=float)
        assert found == pytest.approx(Cash(counts).value(predicted)[mask_of(dataset)].sum(), rel=1e-12)


@pytest.mark.parametrize("backend", ["newton", "minuit"])
def test_its_norm_is_fitted_beside_a_source(backend: str) -> None:
    truth = make_dataset("one", background=0.05)
    known, source = template(truth, 1.5), point_source("point", position=False)
    models = Models([known, source, FoVBackgroundModel(dataset_name="one")])
    dataset = drawn(truth, models)
    known.spectral_model.norm.value = 1.0
    dataset.models = models
    result = Fit(backend=backend).run([dataset])
    assert result.success
    norm = known.spectral_model.norm
    assert abs(norm.value - 1.5) < 3 * norm.error
    assert 0 < norm.error < 0.2
    assert result.total_stat == pytest.approx(stat_sum(dataset, models), abs=1e-6)


def test_a_frozen_template_is_part_of_what_is_predicted() -> None:
    truth = make_dataset("one", background=0.05)
    known, source = template(truth, 1.5), point_source("point", position=False)
    models = Models([known, source, FoVBackgroundModel(dataset_name="one")])
    dataset = drawn(truth, models)
    known.freeze()
    dataset.models = models
    result = Fit().run([dataset])
    assert result.success
    assert not [p for p in result.parameters if "known" in p.name]
    assert result.total_stat == pytest.approx(stat_sum(dataset, models), abs=1e-6)


# --- files ----------------------------------------------------------------------------------------------------


def test_files_come_back(tmp_path: Path) -> None:
    dataset = make_dataset("one")
    model = template(dataset, 1.5, 0.1)
    with pytest.raises(ModelError, match="without a file"):
        model.to_dict()
    model.write(tmp_path / "known.fits")
    Models([model]).write(tmp_path / "models.yaml")
    entry = yaml.safe_load((tmp_path / "models.yaml").read_text())["components"][0]
    assert (entry["type"], entry["filename"]) == ("TemplateNPredModel", "known.fits")
    assert entry["datasets_names"] == ["one"]
    back = Models.read(tmp_path / "models.yaml")["known"]
    assert isinstance(back, TemplateNPredModel)
    assert str(back).startswith("TemplateNPredModel 'known'")
    np.testing.assert_array_equal(back.map.data, model.map.data)
    np.testing.assert_allclose(back.map.edges, model.map.edges, rtol=1e-12)
    np.testing.assert_allclose(npred_signal(dataset, [back]), npred_signal(dataset, [model]), rtol=1e-12)
    with pytest.raises(ModelError, match="is there already"):
        model.write()
    model.write(overwrite=True)


PEER = """
import sys, warnings; warnings.filterwarnings("ignore")
from gammapy.datasets import MapDataset
from gammapy.modeling.models import Models
models = Models.read("models.yaml")
dataset = MapDataset.read("one.fits", name="one")
dataset.models = models
print(*dataset.npred_signal().data.sum(axis=(1, 2)))
models[0].filename = "back.fits"
models[0].map.write("back.fits")
Models([models[0]]).write("back.yaml", write_covariance=False)
"""


def test_gammapy_reads_ours_and_we_read_gammapys(tmp_path: Path) -> None:
    python = os.environ.get("GAMMAPY_PYTHON")
    if not python:
        pytest.skip("needs Gammapy: set GAMMAPY_PYTHON to a python that has it")
    dataset = make_dataset("one")
    model = template(dataset, 1.5, 0.1)
    model.write(tmp_path / "known.fits")
    Models([model]).write(tmp_path / "models.yaml")
    dataset.write(tmp_path / "one.fits")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [python, "-c", PEER], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = npred_signal(dataset, [model])
    theirs = [float(word) for word in done.stdout.split()[-4:]]
    np.testing.assert_allclose(theirs, expected.sum(axis=(1, 2)), rtol=1e-10)
    back = Models.read(tmp_path / "back.yaml")
    np.testing.assert_allclose(npred_signal(dataset, back), expected, rtol=1e-10)


def test_copies_share_the_counts_and_nothing_else() -> None:
    model = template(make_dataset("one"))
    other = model.copy(name="other")
    other.spectral_model.norm.value = 3.0
    assert other.map is model.map
    assert model.spectral_model.norm.value == 1.0


def entry_of(tmp_path: Path, **changes: object) -> dict:
    model = template(make_dataset("one"))
    model.write(tmp_path / "known.fits", overwrite=True)
    return {**model.to_dict(), **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets_names": None}, "datasets_names is None"),
        ({"datasets_names": ["a", "b"]}, "is those of one dataset|are those of one dataset"),
        ({"spatial": {"type": "PointSpatialModel"}}, "has a spatial model"),
        ({"filename": "none.fits"}, "there is no such file"),
        ({"spectral": PowerLawSpectralModel().to_dict()["spectral"]}, "as norm of counts"),
        ({"file": "x"}, "unknown key 'file', did you mean 'filename'"),
    ],
)
def test_bad_entries(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        Model.from_dict(entry_of(tmp_path, **changes))
    without = entry_of(tmp_path)
    del without["filename"]
    with pytest.raises(ModelError, match="has no filename"):
        Model.from_dict(without)


def test_bad_files(tmp_path: Path) -> None:
    good = cube(make_dataset("one"))
    good.write(tmp_path / "good.fits")
    (tmp_path / "text.fits").write_text("no FITS at all, but long enough to be looked at" * 80)
    with fits.open(tmp_path / "good.fits") as hdus:
        fits.PrimaryHDU(hdus[0].data[0], hdus[0].header).writeto(tmp_path / "image.fits")
        fits.PrimaryHDU(hdus[0].data, hdus[0].header).writeto(tmp_path / "bare.fits")
        hdus[0].header["BUNIT"] = "sr-1"
        hdus.writeto(tmp_path / "flux.fits")
        hdus[0].header["BUNIT"] = ""
        hdus[0].data[0, 0, 0] = np.nan
        hdus.writeto(tmp_path / "nan.fits")
    for name, message in {
        "text": "is no FITS file",
        "image": "has no cube",
        "bare": "has no table of energies",
        "flux": "not in counts",
        "nan": "not finite",
    }.items():
        with pytest.raises(ModelError, match=message):
            CountsCube.read(tmp_path / f"{name}.fits")


def test_counts_of_other_pixels_or_energies_are_refused() -> None:
    dataset = make_dataset("one")
    model = template(dataset)
    with pytest.raises(ModelError, match=r"in 4 bins, the dataset's from .* in 3 bins"):
        npred_source(make_dataset("one", reco_bins=3), model)
    with pytest.raises(ModelError, match="its pixels are not those of the dataset"):
        npred_source(make_dataset("one", binsz=0.03), model)
    with pytest.raises(ModelError, match="its pixels are not those of the dataset"):
        npred_source(make_dataset("one", center=(83.607, 22.0)), model)


def test_only_maps_have_such_counts() -> None:
    spectrum = any_dataset("SpectrumDataset")
    model = template(make_dataset(spectrum.name))
    with pytest.raises(UnsupportedError, match="a template of counts"):
        spectrum.models = [model]
    with pytest.raises(UnsupportedError, match="counts of a TemplateNPredModel in a SpectrumDataset"):
        npred_source(spectrum, model)
    with pytest.raises(UnsupportedError, match="counts of a TemplateNPredModel in a SpectrumDataset"):
        npred_signal(spectrum, [model])
