"""Predicted counts, and the condensed likelihood that fits are made with.

`npred` and its companions give full maps. `condense` reduces a dataset to what its likelihood depends on;
how a fit talks to condensed datasets is told in `gammaflow.likelihood.protocol`.
"""

from gammaflow.datasets import prediction
from gammaflow.likelihood.blas_threads import one_blas_thread
from gammaflow.likelihood.condense import condense, grid_of, layout_of
from gammaflow.likelihood.condensed import CondensedDataset
from gammaflow.likelihood.condensed_bins import CondensedBins
from gammaflow.likelihood.coordinates import (
    FluxBlock,
    FluxGrid,
    Layout,
    SharedNuisance,
    SpatialBlock,
    point_of,
)
from gammaflow.likelihood.image import ImageState, SourceImage
from gammaflow.likelihood.image_options import ImageOptions
from gammaflow.likelihood.npred import (
    mask_of,
    npred,
    npred_background,
    npred_signal,
    npred_source,
    residuals,
    stat_array,
    stat_sum,
    statistic_of,
)
from gammaflow.likelihood.protocol import (
    AnchorCheck,
    Condensed,
    CondensedInfo,
    Expansion,
    NuisanceState,
    Reply,
    Request,
)
from gammaflow.likelihood.shard import Shard
from gammaflow.likelihood.source_image import source_image
from gammaflow.likelihood.statistic import Cash, Statistic, WStat

__all__ = [
    "AnchorCheck",
    "Cash",
    "Condensed",
    "CondensedBins",
    "CondensedDataset",
    "CondensedInfo",
    "Expansion",
    "FluxBlock",
    "FluxGrid",
    "ImageOptions",
    "ImageState",
    "Layout",
    "NuisanceState",
    "Reply",
    "Request",
    "Shard",
    "SharedNuisance",
    "SourceImage",
    "SpatialBlock",
    "Statistic",
    "WStat",
    "condense",
    "grid_of",
    "layout_of",
    "mask_of",
    "npred",
    "npred_background",
    "npred_signal",
    "npred_source",
    "one_blas_thread",
    "point_of",
    "residuals",
    "source_image",
    "stat_array",
    "stat_sum",
    "statistic_of",
]

prediction.register(npred_signal)
