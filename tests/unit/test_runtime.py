"""The machine as the stages see it, under a scheduler too."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from shortlist.runtime import Runtime


class Twice(pl.LightningModule):
    """A model whose handler of SIGUSR1 is asked for while it works."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Any = None

    def predict_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.seen = signal.getsignal(signal.SIGUSR1)
        return 2 * batch


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that `srun` started, in a directory with a checkpoint of somebody else's job."""
    for name, value in {"NTASKS": "1", "JOB_ID": "7", "JOB_NAME": "sweep", "PROCID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.chdir(tmp_path)
    Path("hpc_ckpt_1.ckpt").write_text("of another job")


DATA = DataLoader(torch.arange(3.0).reshape(3, 1))


def test_a_job_of_slurm_loads_no_checkpoint_and_takes_no_signal(slurm: None) -> None:
    model = Twice()
    blocks = Runtime(accelerator="cpu").trainer(enable_progress_bar=False).predict(model, DATA)
    assert [float(block) for block in blocks or ()] == [0, 2, 4]
    assert model.seen is signal.SIG_DFL
    assert [path.name for path in Path().iterdir()] == ["hpc_ckpt_1.ckpt"]


@pytest.mark.skipif(sys.platform != "linux", reason="Slurm runs on Linux")
@pytest.mark.filterwarnings("ignore")
def test_lightning_by_itself_would_load_it(slurm: None) -> None:
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(Exception, match=r"(?i)pickle|invalid|load"):
        trainer.predict(Twice(), DATA)
