"""What Gammapy makes of datasets in a folder. Run by test_gammapy.py with a python that has Gammapy."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

from gammapy import datasets as types
from gammapy.datasets import Datasets
from gammapy.estimators import FluxPoints
from gammapy.modeling.models import (
    FoVBackgroundModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
)
from gammapy.utils.regions import compound_region_to_regions
from regions import Regions

warnings.filterwarnings("ignore")


def flux_points(path: Path) -> types.FluxPointsDataset:
    """The flux points of a file, with the statistic that its name asks for."""
    found = types.FluxPointsDataset.read(path, name=path.stem)
    gti = None if path.suffix == ".ecsv" else FluxPoints.read(path).gti
    data = FluxPoints(found.data._data, found.data.reference_model, found.data.meta, gti)
    kind = path.stem.split("-")[1]
    return types.FluxPointsDataset(
        data=data, name=path.stem, mask_fit=found.mask_fit, mask_safe=found._mask_safe, stat_type=kind
    )


def source(dataset, extended=False) -> SkyModel:
    """A power law, at the centre of a map; an extended one is fainter."""
    if extended:
        spectrum = PowerLawSpectralModel(index=2.3, amplitude="3e-12 cm-2 s-1 TeV-1", reference="1 TeV")
        shape = GaussianSpatialModel(lon_0="83.63 deg", lat_0="22.01 deg", sigma="0.3 deg", frame="icrs")
        return SkyModel(spectrum, shape if "Map" in dataset.tag else None, name="src")
    spectrum = PowerLawSpectralModel(index=2.3, amplitude="3e-11 cm-2 s-1 TeV-1", reference="1 TeV")
    if "Map" not in dataset.tag:
        return SkyModel(spectrum, name="src")
    position = dataset.counts.geom.center_skydir.icrs
    return SkyModel(
        spectrum, PointSpatialModel(lon_0=position.ra, lat_0=position.dec, frame="icrs"), name="src"
    )


def statistics(dataset, extended=False) -> dict:
    """Statistics of a dataset as it is, and with models."""
    found = {"name": dataset.name}
    if dataset.tag == "FluxPointsDataset":
        dataset.models = source(dataset)
        found["stat_source"] = float(dataset.stat_sum())
        found["gti"] = [] if dataset.gti is None else dataset.gti.time_start.tt.mjd.tolist()
        return found
    found["stat"] = float(dataset.stat_sum())
    region = getattr(dataset.counts.geom, "region", None)
    if region is not None:
        parts = compound_region_to_regions(region)
        found["region"] = Regions(parts).serialize(format="ds9", precision=12)
    off = getattr(dataset, "counts_off", None)
    if off is not None and getattr(off.geom, "region", None) is not None:
        parts = compound_region_to_regions(off.geom.region)
        found["off_region"] = Regions(parts).serialize(format="ds9", precision=12)
    models = [source(dataset, extended)]
    if "OnOff" not in dataset.tag:
        norm = PowerLawNormSpectralModel(norm=1.3, tilt=0.2)
        background = FoVBackgroundModel(spectral_model=norm, dataset_name=dataset.name)
        dataset.models = [background]
        found["stat_background"] = float(dataset.stat_sum())
        models.append(background)
    dataset.models = models
    found["stat_source"] = float(dataset.stat_sum())
    return found


def lists(folder: Path, out: Path) -> dict:
    """What the list of datasets in a folder holds; the same list as Gammapy writes it."""
    datasets = Datasets.read(folder / "datasets.yaml", folder / "models.yaml", lazy=False)
    found = {dataset.name: float(dataset.stat_sum()) for dataset in datasets}
    datasets.write(out / "datasets.yaml", out / "models.yaml")
    return found


def main(folder: Path) -> None:
    """Read each file; write each again as Gammapy does, into ``folder/gammapy``; tell the statistics."""
    out = folder / "gammapy"
    out.mkdir()
    found = {}
    for path in sorted([*folder.glob("*-*.fits"), *folder.glob("*.pha"), *folder.glob("*.ecsv")]):
        if path.name.startswith("FluxPoints"):
            dataset = flux_points(path)
        else:
            dataset = getattr(types, path.name.split("-")[0]).read(path)
        found[path.name] = statistics(dataset, "-real" in path.name)
        dataset.models = None
        is_ogip = path.suffix == ".pha"
        target = out / f"{path.stem}-ogip.fits" if is_ogip else out / path.name
        dataset.write(target, **({"format": "ogip"} if is_ogip else {}))
    if (folder / "lists").is_dir():
        (out / "lists").mkdir()
        found["lists"] = lists(folder / "lists", out / "lists")
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
