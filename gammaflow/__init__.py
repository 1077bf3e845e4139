"""gammaflow: gamma-ray survey reductions and joint fits as a Dask workflow."""
