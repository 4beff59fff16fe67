"""`logger=` on the command line: one, several, or none, under one key."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

GROUP = Path(__file__).parents[3] / "conf" / "logger"


@pytest.fixture
def loggers(tmp_path: Path) -> Any:
    """A composer of the real group under a configuration that has nothing else."""
    shutil.copytree(GROUP, tmp_path / "logger")
    (tmp_path / "config.yaml").write_text("defaults: [{logger: none}, _self_]\n")

    def composed(*overrides: str) -> dict[str, Any]:
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            config = compose("config", list(overrides))
        found = OmegaConf.to_container(config, resolve=True)
        assert isinstance(found, dict)
        return found.get("logger") or {}

    return composed


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ((), []),
        (("logger=none",), []),
        (("logger=csv",), ["csv"]),
        (("logger=wandb", "logger.wandb.mode=offline"), ["wandb"]),
        (("logger=[csv,wandb]",), ["csv", "wandb"]),
    ],
    ids=str,
)
def test_loggers_are_merged_under_their_names(
    loggers: Any, overrides: Any, names: list[str]
) -> None:
    assert sorted(loggers(*overrides)) == names


def test_every_logger_can_be_made_without_working(loggers: Any) -> None:
    for settings in loggers("logger=[csv,wandb]").values():
        made = instantiate(settings)
        assert callable(made.log_cell)
        assert callable(made.log_table)
