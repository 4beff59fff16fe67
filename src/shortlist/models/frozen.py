"""The first layers of a model, kept as they are while the others are trained."""

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
    """The embeddings and the first layers of a model.

    Attributes:
        base: the model without a head.
        stack: the list of all its layers.
        count: number of layers that are frozen.
        decoder: whether the model is a decoder: its classifier also needs the token ids, to find
            the last token.
    """

    base: Any
    stack: Any
    count: int
    decoder: bool

    @classmethod
    def of(cls, model: Any, count: int, setting: str) -> FrozenLayers:
        """Returns the first `count` layers of a model, whose weights no longer require gradients.

        Raises:
            InvalidInput: the model has no list of layers, has too few of them, or has layers of
                several kinds; the message names `setting`.
        """
        base, stack = model.base_model, layers_of(model)
        kinds = set(getattr(model.config, "layer_types", None) or ())
        if stack is None or len(kinds) > 1:
            found = f"{type(model).__name__} with {', '.join(sorted(kinds)) or 'none'}"
            raise InvalidInput(
                f"{setting} needs a model with a list of layers of one kind, found {found}; set "
                f"{setting}=0"
            )
        if not 0 < count < len(stack):
            raise InvalidInput(
                f"{setting} must be below the model's {len(stack)} layers, found {count}; set {setting}=0 "
                "to train all"
            )
        decoder = not hasattr(base, "embeddings")
        tables = (
            [base.embeddings]
            if not decoder
            else [part for part in base.modules() if isinstance(part, torch.nn.Embedding)]
        )
        for part in (*tables, *list(stack)[:count]):
            part.requires_grad_(False)
        return cls(base, stack, count, decoder)

    @contextlib.contextmanager
    def without_upper_layers(self) -> Generator[None]:
        """Returns a context in which the encoder ends with the frozen layers."""
        upper = list(self.stack)[self.count :]
        del self.stack[self.count :]
        try:
            yield
        finally:
            self.stack.extend(upper)

    @contextlib.contextmanager
    def without_frozen_layers(self) -> Generator[None]:
        """Returns a context in which the encoder begins after the frozen layers: it reads their
        states as `inputs_embeds`, a decoder also `input_ids`.
        """
        if self.decoder:
            with self._states_as_input():
                yield
            return
        embeddings, layers = self.base.embeddings, list(self.stack)
        self.base.embeddings = _PassThrough()
        del self.stack[: self.count]
        try:
            yield
        finally:
            self.base.embeddings = embeddings
            del self.stack[:]
            self.stack.extend(layers)

    @contextlib.contextmanager
    def _states_as_input(self) -> Generator[None]:
        """Returns a context in which a decoder's first layer after the frozen ones reads the states
        in place of the embeddings, whatever its architecture does with these.
        """
        given: list[torch.Tensor] = []
        layers, cached = list(self.stack), self.base.config.use_cache

        def keep(module: Any, arguments: Any, named: dict[str, Any]) -> Any:
            given[:] = [named.pop("inputs_embeds")]
            return arguments, named

        def replace(module: Any, arguments: Any, named: dict[str, Any]) -> Any:
            return (given[0].to(arguments[0].dtype), *arguments[1:]), named

        handles = [
            self.base.register_forward_pre_hook(keep, with_kwargs=True),
            layers[self.count].register_forward_pre_hook(replace, with_kwargs=True),
        ]
        self.base.config.use_cache = False  # a cache counts all layers
        del self.stack[: self.count]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self.base.config.use_cache = cached
            del self.stack[:]
            self.stack.extend(layers)

    def _after(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Returns the states after the frozen layers, (b, t, w)."""
        if not self.decoder:
            with self.without_upper_layers():
                return self.base(**inputs).last_hidden_state
        reached: list[torch.Tensor] = []

        def stop(module: Any, arguments: Any) -> None:
            reached.append(arguments[0])
            raise _Reached

        handle = self.stack[self.count].register_forward_pre_hook(stop)
        try:
            self.base(**inputs, use_cache=False)
        except _Reached:
            pass
        finally:
            handle.remove()
        return reached[0]

    def states(
        self, tokens: Tokens, pad_id: int, types: bool, runtime: Runtime
    ) -> list[torch.Tensor]:
        """Returns the states after the frozen layers, (t, w) float32 for each document, on the CPU;
        without dropout.
        """
        found: list[torch.Tensor] = [torch.empty(0)] * len(tokens)
        training = self.base.training
        self.base.eval()
        with torch.no_grad():
            for rows in by_length(tokens.lengths, runtime.inference_tokens):
                inputs = batch(tokens, rows, pad_id, types=types)
                hidden = self._after(
                    {name: value.to(runtime.device) for name, value in inputs.items()}
                ).float()
                for row, states in zip(rows.tolist(), hidden.cpu(), strict=True):
                    found[row] = states[: tokens.lengths[row]].clone()
        self.base.train(training)
        return found


class _Reached(Exception):
    """Ends a pass before the layers whose states are not asked for."""


class _PassThrough(torch.nn.Module):
    """Replaces the embeddings: returns the states that it is given."""

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
