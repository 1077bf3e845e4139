"""``python -m gammaflow`` is the ``gammaflow`` command."""

from gammaflow.cli import main

if __name__ == "__main__":
    main(prog_name="gammaflow")
