"""The one entry point: one cell, or with -m a sweep of cells. `python run.py --help` lists what can
be chosen.
"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from shortlist import commandline, schema

schema.register()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> object:
    """Returns the record of the cell that `config` describes."""
    from hydra.core.hydra_config import HydraConfig

    from shortlist.pipeline import execute  # heavy: only once the configuration stands

    job = HydraConfig.get()
    return execute(
        config, dict(job.runtime.choices), tuple(job.overrides.task), Path(job.runtime.output_dir)
    )


if __name__ == "__main__":
    commandline.guard(main)
