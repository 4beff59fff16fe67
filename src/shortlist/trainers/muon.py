"""Two optimisers as one: Muon for the matrices of a model's layers, AdamW for all else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from shortlist.errors import Missing

if TYPE_CHECKING:
    from collections.abc import Sequence


class MuonAndAdam(torch.optim.Optimizer):
    """Muon's steps are its momentum made orthogonal (Jordan et al. 2024): every direction of a matrix
    is learnt at one rate.

    Embeddings, biases and norms have no such directions and stay with AdamW. Both halves share their
    settings and their state with this object: a schedule moves both rates, and what is kept of
    `state` is all there is to keep.
    """

    def __init__(
        self,
        matrices: Sequence[torch.Tensor],
        others: Sequence[torch.Tensor],
        matrix_rate: float,
        weight_decay: float,
        **adam: Any,
    ) -> None:
        """Takes the weights and both halves' settings.

        Args:
            matrices: what Muon steps.
            others: what AdamW steps, without weight decay.
            matrix_rate: Muon's rate.
            weight_decay: of the matrices, as a share of their rate.
            adam: AdamW's `lr`, `betas` and `eps`.

        Raises:
            Missing: torch is older than its Muon.
        """
        if not hasattr(torch.optim, "Muon"):
            raise Missing(
                f"model.pretraining.matrix_rate needs torch 2.9 or later, found {torch.__version__}; "
                "upgrade it or set model.pretraining.matrix_rate=null"
            )
        super().__init__([{"params": list(matrices)}, {"params": list(others)}], {})
        self.halves: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=matrix_rate, weight_decay=weight_decay),
            torch.optim.AdamW(others, weight_decay=0.0, fused=True, **adam),
        ]
        self.param_groups = [group for half in self.halves for group in half.param_groups]
        for half in self.halves:
            half.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Returns what the closure returns, after both halves have stepped."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for half in self.halves:
            half.step()
        return loss
