"""Spectral models."""

from gammaflow.modeling.spectral.analytic import AnalyticSpectralModel
from gammaflow.modeling.spectral.base import SpectralModel
from gammaflow.modeling.spectral.broken import BrokenPowerLawSpectralModel, SmoothBrokenPowerLawSpectralModel
from gammaflow.modeling.spectral.compound import CompoundSpectralModel, ScaleSpectralModel
from gammaflow.modeling.spectral.curved import (
    GaussianSpectralModel,
    LogParabola2SpectralModel,
    LogParabolaNormSpectralModel,
    LogParabolaSpectralModel,
)
from gammaflow.modeling.spectral.cutoff import (
    ExpCutoffPowerLaw3FGLSpectralModel,
    ExpCutoffPowerLawNormSpectralModel,
    ExpCutoffPowerLawSpectralModel,
    SuperExpCutoffPowerLaw3FGLSpectralModel,
    SuperExpCutoffPowerLaw4FGLDR3SpectralModel,
    SuperExpCutoffPowerLaw4FGLSpectralModel,
)
from gammaflow.modeling.spectral.ebl import EBLAbsorptionNormSpectralModel
from gammaflow.modeling.spectral.power_law import (
    PowerLaw2SpectralModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
)
from gammaflow.modeling.spectral.tabulated import (
    ConstantSpectralModel,
    PiecewiseNormSpectralModel,
    TemplateSpectralModel,
)

__all__ = [
    "AnalyticSpectralModel",
    "BrokenPowerLawSpectralModel",
    "CompoundSpectralModel",
    "ConstantSpectralModel",
    "EBLAbsorptionNormSpectralModel",
    "ExpCutoffPowerLaw3FGLSpectralModel",
    "ExpCutoffPowerLawNormSpectralModel",
    "ExpCutoffPowerLawSpectralModel",
    "GaussianSpectralModel",
    "LogParabola2SpectralModel",
    "LogParabolaNormSpectralModel",
    "LogParabolaSpectralModel",
    "PiecewiseNormSpectralModel",
    "PowerLaw2SpectralModel",
    "PowerLawNormSpectralModel",
    "PowerLawSpectralModel",
    "ScaleSpectralModel",
    "SmoothBrokenPowerLawSpectralModel",
    "SpectralModel",
    "SuperExpCutoffPowerLaw3FGLSpectralModel",
    "SuperExpCutoffPowerLaw4FGLDR3SpectralModel",
    "SuperExpCutoffPowerLaw4FGLSpectralModel",
    "TemplateSpectralModel",
]
