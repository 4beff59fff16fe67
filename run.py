"""Entry point: runs one cell, or with -m a sweep. `python run.py --help` lists the options."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from shortlist import config
from shortlist.pipeline import hydra_app

config.register(Path(__file__).parent / "conf")


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> object:
    """Returns the record of the cell that `config` describes."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from shortlist.pipeline.cell import execute  # heavy: only for a valid configuration

    job = HydraConfig.get()
    directory = Path(job.runtime.output_dir)
    group = Path(job.sweep.dir) if job.mode == RunMode.MULTIRUN else directory
    choices, overrides = dict(job.runtime.choices), tuple(job.overrides.task)
    return execute(config, choices, overrides, directory, group)


if __name__ == "__main__":
    hydra_app.guard(main)
