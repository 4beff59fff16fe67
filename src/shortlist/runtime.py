"""How things are run on this machine: device, threads, progress. Nothing here enters a key."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch

from shortlist.errors import InvalidInput
from shortlist.settings import Count, NonNegative

PROCESSES = "SHORTLIST_PROCESSES"  # set in processes that share a training: their number


@dataclass(frozen=True)
class BatchShare:
    """Which rows of a batch a process trains on: row `rank`, and every `processes`-th after it."""

    rank: int
    processes: int

    @staticmethod
    def of_process() -> BatchShare:
        """Returns the share of this process: everything, unless it was started to share."""
        processes = int(os.environ.get(PROCESSES, "1"))
        return BatchShare(int(os.environ["RANK"]) if processes > 1 else 0, processes)

    def rows(self, tensor: torch.Tensor) -> torch.Tensor:
        """Returns the rows of this process; the first row where there is none for it."""
        own = tensor[self.rank :: self.processes]
        return own if len(own) else tensor[:1]

    def mean(self, loss: torch.Tensor) -> torch.Tensor:
        """Returns the mean of a loss over the processes."""
        if self.processes == 1:
            return loss
        whole = loss.detach().clone()
        torch.distributed.all_reduce(whole)
        return whole / self.processes


@dataclass(frozen=True)
class Runtime:
    """Machine settings of the stages.

    Attributes:
        accelerator: `auto`, `cpu` or `cuda`.
        threads: threads of torch on a CPU, or None for torch's own choice.
        inference_tokens: padded tokens of a batch in passes without gradient: 2,048 on a CPU (8,192
            take 25 % longer there), 32,768 on a GPU.
        progress: whether long work shows a bar.
        checkpoint_seconds: least seconds between two checkpoints of a training, which resumes from
            the last one after a kill; writing them takes at most 5 % of the time. 0 saves as often
            as that allows, None never.
        report: whether a selection comes with its reasons and a page on it.
        processes: processes of this machine that share each batch of a warm-up, one an accelerator
            or several on a CPU (`pipeline.parallel`).
        strategy: `ddp`, or `fsdp`, which cuts weights, gradients and moments over the processes.
    """

    accelerator: str = "auto"
    threads: Count | None = None
    inference_tokens: Count = 2048
    progress: bool = True
    checkpoint_seconds: NonNegative | None = 60.0
    report: bool = True
    processes: Count = 1
    strategy: str = "ddp"

    def __post_init__(self) -> None:
        if self.accelerator == "cuda" and not torch.cuda.is_available():
            raise InvalidInput(
                "runtime.accelerator=cuda needs a CUDA device, torch finds none; set it to auto or cpu"
            )

    def settle(self) -> None:
        """Applies the settings of the whole process: torch's threads, messages of libraries."""
        silence_libraries()
        if self.threads:
            torch.set_num_threads(self.threads)

    @cached_property
    def device(self) -> torch.device:
        """The device that `accelerator` means here."""
        if self.accelerator == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.accelerator)

    @property
    def device_name(self) -> str:
        """The device in words, for the record."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"cpu, {torch.get_num_threads()} threads"

    def trainer(self, **options: Any) -> Any:
        """Returns a Lightning trainer for one stage, without files, loggers or messages.

        Under Slurm, Lightning would requeue the job itself, write a checkpoint into the working
        directory, and load an unrelated one of that name into the next model. The store resumes
        stages, so both are switched off.
        """
        import pytorch_lightning as pl
        from lightning_fabric.plugins.environments.lightning import LightningEnvironment

        silence_libraries()
        settings: dict[str, Any] = {
            "accelerator": "gpu" if self.device.type == "cuda" else "cpu",
            "devices": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_model_summary": False,
            "enable_progress_bar": False,
            "use_distributed_sampler": False,
            "plugins": [LightningEnvironment()],
            "default_root_dir": os.devnull,
        }
        if (share := BatchShare.of_process()).processes > 1:
            from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
            from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy

            backend = "nccl" if self.device.type == "cuda" else "gloo"
            strategies: dict[str, Any] = {
                "ddp": partial(DDPStrategy, find_unused_parameters=True),
                "fsdp": partial(
                    ModelParallelStrategy,
                    data_parallel_size=share.processes,
                    tensor_parallel_size=1,
                ),
            }
            settings |= {
                "devices": share.processes,
                "plugins": [TorchElasticEnvironment()],
                "strategy": strategies[self.strategy](process_group_backend=backend),
            }
        return pl.Trainer(**{**settings, **options})


def silence_libraries() -> None:
    """Silences the notes of Lightning and torch on hardware and workers for the whole process."""
    for name in (
        "pytorch_lightning",
        "lightning.pytorch",
        "lightning_fabric",
        "pytorch_lightning.utilities.rank_zero",
    ):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*Sparse CSR tensor support is in beta.*")
    warnings.filterwarnings(
        "ignore", message=".*Couldn't infer the batch indices.*"
    )  # a batch has the numbers of its rows
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
