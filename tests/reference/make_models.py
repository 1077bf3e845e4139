"""Write models.json, models_gammapy.yaml and template maps with Gammapy 2.1, in an environment that has it.

The JSON holds values and integrals of spectral models, values of spatial ones and integrals of temporal ones;
the YAML, with its covariance file, is how Gammapy writes models.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.time import Time
from gammapy.maps import Map, MapAxis, WcsGeom
from gammapy.modeling.models import (
    CompoundSpectralModel,
    EBLAbsorptionNormSpectralModel,
    FoVBackgroundModel,
    GaussianPrior,
    Model,
    Models,
    PiecewiseNormSpectralModel,
    SkyModel,
    TemplateSpatialModel,
    TemplateSpectralModel,
    UniformPrior,
)

HERE = Path(__file__).parent
ENERGY = np.geomspace(0.05, 80, 7)
EDGES = {"wide": np.geomspace(0.1, 100, 4), "fine": np.geomspace(0.1, 100, 25)}

SPECTRAL = [
    ("pl", {"index": 2.3, "amplitude": "3e-12 cm-2 s-1 TeV-1", "reference": "2 TeV"}),
    ("pl", {"index": 1.0, "amplitude": "3e-12 cm-2 s-1 TeV-1", "reference": "1 TeV"}),
    ("pl-2", {"amplitude": "4e-11 cm-2 s-1", "index": 2.6, "emin": "0.3 TeV", "emax": "50 TeV"}),
    ("pl-norm", {"tilt": 0.3, "norm": 1.7, "reference": "3 TeV"}),
    (
        "ecpl",
        {"index": 1.8, "amplitude": "2e-12 cm-2 s-1 TeV-1", "reference": "1 TeV", "lambda_": "0.07 TeV-1"},
    ),
    (
        "ecpl",
        {
            "index": 1.8,
            "amplitude": "2e-12 cm-2 s-1 TeV-1",
            "reference": "1 TeV",
            "lambda_": "0.07 TeV-1",
            "alpha": 0.6,
        },
    ),
    (
        "ecpl",
        {"index": 2.4, "amplitude": "2e-12 cm-2 s-1 TeV-1", "reference": "1 TeV", "lambda_": "-0.015 TeV-1"},
    ),
    ("ecpl-norm", {"index": 0.2, "norm": 0.9, "reference": "1 TeV", "lambda_": "0.05 TeV-1", "alpha": 1.0}),
    (
        "ecpl-3fgl",
        {"index": 1.6, "amplitude": "2e-12 cm-2 s-1 TeV-1", "reference": "0.7 TeV", "ecut": "8 TeV"},
    ),
    (
        "secpl-3fgl",
        {
            "amplitude": "2e-12 cm-2 s-1 TeV-1",
            "reference": "0.7 TeV",
            "ecut": "8 TeV",
            "index_1": 1.6,
            "index_2": 0.8,
        },
    ),
    (
        "secpl-4fgl",
        {
            "amplitude": "2e-12 cm-2 s-1 TeV-1",
            "reference": "0.7 TeV",
            "expfactor": 3e-5,
            "index_1": 1.6,
            "index_2": 0.7,
        },
    ),
    (
        "secpl-4fgl-dr3",
        {
            "amplitude": "2e-12 cm-2 s-1 TeV-1",
            "reference": "0.7 TeV",
            "expfactor": 0.2,
            "index_1": 1.6,
            "index_2": 0.6,
        },
    ),
    ("lp", {"amplitude": "2e-12 cm-2 s-1 TeV-1", "reference": "2 TeV", "alpha": 2.1, "beta": 0.2}),
    (
        "lp2",
        {
            "amplitude": "2e-12 cm-2 s-1 TeV-1",
            "reference": "2 TeV",
            "alpha": 2.1,
            "beta": 0.2,
            "escale": "3 TeV",
        },
    ),
    ("lp-norm", {"norm": 1.2, "reference": "2 TeV", "alpha": 0.1, "beta": 0.05}),
    ("bpl", {"index1": 1.5, "index2": 2.7, "amplitude": "2e-12 cm-2 s-1 TeV-1", "ebreak": "1.5 TeV"}),
    (
        "sbpl",
        {
            "index1": 1.5,
            "index2": 2.7,
            "amplitude": "2e-12 cm-2 s-1 TeV-1",
            "ebreak": "1.5 TeV",
            "reference": "1 TeV",
            "beta": 0.8,
        },
    ),
    (
        "sbpl",
        {
            "index1": 2.5,
            "index2": 1.7,
            "amplitude": "2e-12 cm-2 s-1 TeV-1",
            "ebreak": "1.5 TeV",
            "reference": "1 TeV",
            "beta": 0.5,
        },
    ),
    ("const", {"const": "3e-12 cm-2 s-1 TeV-1"}),
    ("gauss", {"amplitude": "3e-12 cm-2 s-1", "mean": "5 TeV", "sigma": "2 TeV"}),
]

SPATIAL = [
    ("gauss", {"sigma": "0.3 deg"}),
    ("gauss", {"sigma": "0.3 deg", "e": 0.8, "phi": "40 deg"}),
    ("gauss-general", {"r_0": "0.4 deg", "eta": 0.7}),
    ("gauss-general", {"r_0": "0.4 deg", "eta": 0.2, "e": 0.6, "phi": "-70 deg"}),
    ("disk", {"r_0": "0.4 deg", "edge_width": 0.1}),
    ("disk", {"r_0": "0.4 deg", "e": 0.7, "phi": "110 deg", "edge_width": 0.2}),
    ("shell", {"radius": "0.3 deg", "width": "0.1 deg"}),
    ("shell2", {"r_0": "0.4 deg", "eta": 0.3}),
    ("const", {}),
]

TEMPORAL = [
    ("const", {}),
    ("linear", {"alpha": 0.9, "beta": "0.2 d-1", "t_ref": "55000 d"}),
    ("exp-decay", {"t0": "1.5 d", "t_ref": "55000 d"}),
    ("gauss", {"t_ref": "55000.4 d", "sigma": "0.3 d"}),
    ("gengauss", {"t_ref": "55000.4 d", "t_rise": "0.2 d", "t_decay": "0.5 d", "eta": 0.7}),
    ("powerlaw", {"alpha": -1.3, "t_ref": "54999 d", "t0": "1 d"}),
    ("powerlaw", {"alpha": -1.0, "t_ref": "54999 d", "t0": "1 d"}),
]


def spectral_entry(model: object, extra: dict[str, object]) -> dict[str, object]:
    entry = dict(extra)
    values = model(ENERGY * u.TeV)
    norm = model.is_norm_spectral_model if not isinstance(model, CompoundSpectralModel) else False
    unit = u.Unit("") if norm else u.Unit("cm-2 s-1 TeV-1")
    entry["values"] = values.to_value(unit).tolist()
    for name, edges in EDGES.items():
        low, high = edges[:-1] * u.TeV, edges[1:] * u.TeV
        entry[f"integral_{name}"] = model.integral(low, high).to_value(unit * u.TeV).tolist()
        entry[f"energy_flux_{name}"] = model.energy_flux(low, high).to_value(unit * u.TeV**2).tolist()
    return entry


def ebl_table() -> tuple[u.Quantity, np.ndarray, np.ndarray]:
    energy = np.geomspace(0.02, 100, 12)
    redshift = np.array([0.01, 0.1, 0.3, 0.6])
    return energy * u.TeV, redshift, np.exp(-redshift[:, None] * 1.5 * energy**0.9)


def template(energies: bool) -> Map:
    axes = [MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=3, name="energy_true")] if energies else []
    geom = WcsGeom.create(skydir=(83.6, 22.0), binsz=0.1, width=(2.0, 1.4), frame="icrs", axes=axes)
    coords = geom.get_coord()
    size = 0.3 * (coords["energy_true"].to_value("TeV") ** -0.2 if energies else 1.0)
    data = np.exp(
        -0.5
        * (
            ((coords.lon.to_value("deg") - 83.7) / size) ** 2
            + ((coords.lat.to_value("deg") - 22.1) / 0.25) ** 2
        )
    )
    return Map.from_geom(geom, data=data, unit="sr-1")


def models() -> Models:
    first = SkyModel.create("pl", "gauss", name="first")
    second = SkyModel.create("ecpl", "point", name="second", datasets_names=["data-1"])
    second.spectral_model.index = first.spectral_model.index
    first.spectral_model.amplitude.prior = GaussianPrior(mu=1e-12, sigma=2e-13)
    first.spectral_model.index.prior = UniformPrior(min=1, max=4)
    first.spectral_model.amplitude.error = 1e-13
    first.spatial_model.frame = "galactic"
    first.spatial_model.sigma.quantity = "6 arcmin"
    first.spatial_model.sigma.min = 0.5
    second.spectral_model.lambda_.frozen = True
    product = SkyModel(
        PiecewiseNormSpectralModel([0.3, 3, 30] * u.TeV, norms=[1, 2, 0.5])
        * TemplateSpectralModel([0.1, 1, 10] * u.TeV, [1e-10, 1e-12, 1e-14] * u.Unit("cm-2 s-1 TeV-1")),
        Model.create("shell2", "spatial"),
        Model.create("exp-decay", "temporal"),
        name="product",
        apply_irf={"exposure": True, "psf": False, "edisp": True},
    )
    absorbed = SkyModel(
        Model.create("lp", "spectral")
        * EBLAbsorptionNormSpectralModel(*ebl_table(), redshift=0.2, alpha_norm=1.1),
        Model.create("disk", "spatial"),
        name="absorbed",
    )
    background = FoVBackgroundModel(dataset_name="data-1")
    background.spectral_model.norm.value = 1.1
    background.spectral_model.tilt.frozen = False
    result = Models([first, second, product, absorbed, background])
    data = np.diag(np.linspace(1, 2, len(result.parameters)) ** 2)
    result.covariance = data
    return result


def main() -> None:
    warnings.simplefilter("ignore")
    out: dict[str, object] = {"energy": ENERGY.tolist(), "edges": {k: v.tolist() for k, v in EDGES.items()}}
    out["spectral"] = [
        spectral_entry(Model.create(tag, "spectral", **kwargs), {"tag": tag, "parameters": kwargs})
        for tag, kwargs in SPECTRAL
    ]
    nodes, table = [0.1, 0.5, 4, 30] * u.TeV, [3e-10, 2e-11, 0, 1e-14] * u.Unit("cm-2 s-1 TeV-1")
    piecewise = PiecewiseNormSpectralModel(nodes, norms=[1, 2, 0.7, 1.5])
    linear = PiecewiseNormSpectralModel(nodes, norms=[1, 2, 0.7, 1.5], interp="lin")
    ebl = EBLAbsorptionNormSpectralModel(*ebl_table(), redshift=0.25, alpha_norm=0.8)
    power_law = Model.create("pl", "spectral", index=2.2)
    parabola = Model.create("lp", "spectral", reference="1 TeV", beta=0.1)
    out["template"] = spectral_entry(
        TemplateSpectralModel(nodes, table), {"nodes": nodes.value.tolist(), "table": table.value.tolist()}
    )
    out["piecewise"] = spectral_entry(piecewise, {})
    out["piecewise_lin"] = spectral_entry(linear, {})
    out["ebl"] = spectral_entry(ebl, {})
    out["sum"] = spectral_entry(power_law + parabola, {})
    out["product"] = spectral_entry(power_law * ebl, {})

    lon, lat = np.meshgrid(np.linspace(82.9, 84.3, 9), np.linspace(21.4, 22.6, 9))
    out["positions"] = {"lon": lon.ravel().tolist(), "lat": lat.ravel().tolist()}
    spatial = []
    for tag, kwargs in SPATIAL:
        place = {} if tag == "const" else {"lon_0": "83.6 deg", "lat_0": "22.0 deg"}
        model = Model.create(tag, "spatial", **kwargs, **place)
        values = u.Quantity(model(lon.ravel() * u.deg, lat.ravel() * u.deg)).to_value("sr-1")
        radius = model.evaluation_radius
        spatial.append(
            {
                "tag": tag,
                "parameters": {**kwargs, **place},
                "values": np.broadcast_to(values, lon.size).tolist(),
                "radius": None if radius is None else radius.to_value("deg"),
            }
        )
    out["spatial"] = spatial
    for name, energies in (("template_image", False), ("template_cube", True)):
        map_ = template(energies)
        map_.write(HERE / f"models_{name}.fits", overwrite=True)
        model = TemplateSpatialModel.read(HERE / f"models_{name}.fits")
        kwargs = {"energy": np.geomspace(0.12, 8, lon.size) * u.TeV} if energies else {}
        values = model(lon.ravel() * u.deg, lat.ravel() * u.deg, **kwargs)
        model.lon_0.quantity, model.lat_0.quantity = "83.75 deg", "22.1 deg"
        moved = model(lon.ravel() * u.deg, lat.ravel() * u.deg, **kwargs)
        out[name] = {"values": values.to_value("sr-1").tolist(), "moved": moved.to_value("sr-1").tolist()}

    start = Time([55000.1, 55000.7], format="mjd", scale="utc")
    stop = Time([55000.5, 55001.2], format="mjd", scale="utc")
    out["times"] = {"start": start.mjd.tolist(), "stop": stop.mjd.tolist()}
    out["temporal"] = []
    for tag, kwargs in TEMPORAL:
        model = Model.create(tag, "temporal", **kwargs)
        out["temporal"].append(
            {
                "tag": tag,
                "parameters": kwargs,
                "values": u.Quantity(model(start)).to_value("").tolist(),
                "integral": u.Quantity(model.integral(start, stop)).to_value("").tolist(),
            }
        )
    written = models()
    written.write(HERE / "models_gammapy.yaml", overwrite=True)
    out["file_values"] = {
        m.name: m.spectral_model(ENERGY * u.TeV).value.tolist() for m in written if isinstance(m, SkyModel)
    }
    out["priors"] = [
        written["first"].parameters["amplitude"].prior(1.3e-12 * u.one),
        written["first"].parameters["index"].prior(2 * u.one),
    ]
    position = SkyCoord(0, 0, unit="deg", frame="galactic").icrs
    out["galactic_centre"] = [position.ra.deg, position.dec.deg]
    (HERE / "models.json").write_text(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
