"""What Gammapy makes of datasets in a folder. Run by test_gammapy.py with a python that has Gammapy."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gammapy import datasets as types
from gammapy.modeling.models import (
    FoVBackgroundModel,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
)


def statistics(dataset) -> dict:
    """Statistics of a dataset as it is, and with models."""
    found = {"name": dataset.name, "stat": float(dataset.stat_sum())}
    position = dataset.counts.geom.center_skydir
    spectrum = PowerLawSpectralModel(index=2.3, amplitude="3e-11 cm-2 s-1 TeV-1", reference="1 TeV")
    models = [SkyModel(spectrum, name="src")]
    if "Map" in dataset.tag:
        spatial = PointSpatialModel(lon_0=position.icrs.ra, lat_0=position.icrs.dec, frame="icrs")
        models = [SkyModel(spectrum, spatial, name="src")]
    if "OnOff" not in dataset.tag:
        norm = PowerLawNormSpectralModel(norm=1.3, tilt=0.2)
        background = FoVBackgroundModel(spectral_model=norm, dataset_name=dataset.name)
        dataset.models = [background]
        found["stat_background"] = float(dataset.stat_sum())
        models.append(background)
    dataset.models = models
    found["stat_source"] = float(dataset.stat_sum())
    return found


def main(folder: Path) -> None:
    """Read each file; write each again as Gammapy does, into ``folder/gammapy``; tell the statistics."""
    out = folder / "gammapy"
    out.mkdir()
    found = {}
    for path in sorted([*folder.glob("*.fits"), *folder.glob("*.pha")]):
        dataset = getattr(types, path.name.split("-")[0]).read(path)
        found[path.name] = statistics(dataset)
        dataset.models = None
        is_ogip = path.suffix == ".pha"
        target = out / f"{path.stem}-ogip.fits" if is_ogip else out / path.name
        dataset.write(target, **({"format": "ogip"} if is_ogip else {}))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
