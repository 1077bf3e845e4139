"""Write gammapy_config.yaml, all defaults of Gammapy 2.1: run in an environment that has it."""

from pathlib import Path

from gammapy.analysis import AnalysisConfig

if __name__ == "__main__":
    Path(__file__).with_name("gammapy_config.yaml").write_text(AnalysisConfig().to_yaml())
