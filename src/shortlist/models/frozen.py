"""The first layers of an encoder, kept as they are while the others are trained."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from shortlist.errors import InvalidInput
from shortlist.models.checkpoint import layers_of
from shortlist.models.tokens import Tokens, batch, by_length

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.runtime import Runtime


@dataclass(frozen=True)
class FrozenLayers:
    """The embeddings and the first layers of an encoder.

    Attributes:
        base: the encoder without a head.
        stack: the list of all its layers.
        count: number of layers that are frozen.
    """

    base: Any
    stack: Any
    count: int

    @classmethod
    def of(cls, model: Any, count: int, setting: str) -> FrozenLayers:
        """Returns the first `count` layers of a model, whose weights no longer require gradients.

        Raises:
            InvalidInput: the model is no encoder with a list of layers, or has too few of them; the
                message names `setting`.
        """
        base, stack = model.base_model, layers_of(model)
        if stack is None or not hasattr(base, "embeddings"):
            raise InvalidInput(
                f"{setting} needs an encoder with embeddings and a list of layers, found "
                f"{type(model).__name__}; set {setting}=0"
            )
        if not 0 < count < len(stack):
            raise InvalidInput(
                f"{setting} must be below the model's {len(stack)} layers, found {count}; set {setting}=0 "
                "to train all"
            )
        for part in (base.embeddings, *list(stack)[:count]):
            part.requires_grad_(False)
        return cls(base, stack, count)

    @contextlib.contextmanager
    def only(self) -> Generator[None]:
        """Returns a context in which the encoder ends with the frozen layers."""
        upper = list(self.stack)[self.count :]
        del self.stack[self.count :]
        try:
            yield
        finally:
            self.stack.extend(upper)

    @contextlib.contextmanager
    def left_out(self) -> Generator[None]:
        """Returns a context in which the encoder begins after the frozen layers: it reads their
        states as `inputs_embeds`.
        """
        embeddings, layers = self.base.embeddings, list(self.stack)
        self.base.embeddings = _Given()
        del self.stack[: self.count]
        try:
            yield
        finally:
            self.base.embeddings = embeddings
            del self.stack[:]
            self.stack.extend(layers)

    def states(
        self, tokens: Tokens, pad_id: int, types: bool, runtime: Runtime
    ) -> list[torch.Tensor]:
        """Returns the states after the frozen layers, (t, w) float32 for each document, on the CPU;
        without dropout.
        """
        found: list[torch.Tensor] = [torch.empty(0)] * len(tokens)
        training = self.base.training
        self.base.eval()
        with self.only(), torch.no_grad():
            for rows in by_length(tokens.lengths, runtime.inference_tokens):
                inputs = batch(tokens, rows, pad_id, types=types)
                hidden = self.base(
                    **{name: value.to(runtime.device) for name, value in inputs.items()}
                ).last_hidden_state.float()
                for row, states in zip(rows.tolist(), hidden.cpu(), strict=True):
                    found[row] = states[: tokens.lengths[row]].clone()
        self.base.train(training)
        return found


class _Given(torch.nn.Module):
    """In place of the embeddings: returns the states that it is given."""

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **unused: Any,
    ) -> torch.Tensor:
        """Returns `inputs_embeds`."""
        del input_ids, unused
        assert inputs_embeds is not None
        return inputs_embeds


def state_batch(states: list[torch.Tensor], rows: NDArray[Any] | list[int]) -> dict[str, Any]:
    """Returns `inputs_embeds`, (b, t, w), and `attention_mask` of these rows."""
    own = [states[row] for row in rows]
    lengths = torch.tensor([len(one) for one in own])
    padded = torch.nn.utils.rnn.pad_sequence(own, batch_first=True)
    mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
    return {"inputs_embeds": padded, "attention_mask": mask}
