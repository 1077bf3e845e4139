"""One of every kind of spectral model, at parameters where nothing is special."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np

from gammaflow.modeling import (
    EBLAbsorptionNormSpectralModel,
    Model,
    PiecewiseNormSpectralModel,
    SpectralModel,
    TemplateSpectralModel,
)

REFERENCE = Path(__file__).resolve().parent.parent / "reference"
NODES = [0.1, 0.5, 4, 30] * u.TeV


@cache
def reference() -> dict[str, Any]:
    return json.loads((REFERENCE / "models.json").read_text())


def ebl(redshift: float = 0.25, alpha_norm: float = 0.8) -> EBLAbsorptionNormSpectralModel:
    energy = np.geomspace(0.02, 100, 12)
    param = np.array([0.01, 0.1, 0.3, 0.6])
    table = np.exp(-param[:, None] * 1.5 * energy**0.9)
    return EBLAbsorptionNormSpectralModel(energy * u.TeV, param, table, redshift, alpha_norm)


def spectral_cases() -> list[tuple[str, SpectralModel, dict[str, Any]]]:
    """Name, model, Gammapy's numbers."""
    numbers = reference()
    cases = [
        (f"{entry['tag']}-{i}", Model.create(entry["tag"], "spectral", **entry["parameters"]), entry)
        for i, entry in enumerate(numbers["spectral"])
    ]
    table = numbers["template"]["table"] * u.Unit("cm-2 s-1 TeV-1")
    power_law = Model.create("pl", "spectral", index=2.2)
    parabola = Model.create("lp", "spectral", reference="1 TeV", beta=0.1)
    cases += [
        ("template", TemplateSpectralModel(NODES, table), numbers["template"]),
        ("piecewise", PiecewiseNormSpectralModel(NODES, [1, 2, 0.7, 1.5]), numbers["piecewise"]),
        (
            "piecewise-lin",
            PiecewiseNormSpectralModel(NODES, [1, 2, 0.7, 1.5], interp="lin"),
            numbers["piecewise_lin"],
        ),
        ("ebl", ebl(), numbers["ebl"]),
        ("sum", power_law + parabola, numbers["sum"]),
        ("product", power_law.copy() * ebl(), numbers["product"]),
    ]
    return cases
