"""From the hidden states of a document's positions to one vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

Pool = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Returns (b, w): the mean over a document's own tokens.

    Args:
        hidden: (b, t, w) hidden states.
        mask: (b, t) 1 at tokens, 0 at padding, which may be on either side.
    """
    return _weighted(hidden, mask.to(hidden.dtype))


def mean_all(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Returns (b, w): the mean over all t positions, padding included.

    The released GOT-D code takes it over 295 positions (notebooks: `padding="max_length"`, plain
    mean): padding is not attended to, but its hidden states enter, so a short text's vector is
    mostly that of padding. The featurizer pads every document to `max_length` for it.
    """
    return hidden.mean(1)


def last_token(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Returns (b, w): the state of the last token, which in a decoder has seen all the others."""
    places = torch.arange(mask.shape[1], device=mask.device)
    last = (mask.bool() * (places + 1)).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def position_weighted(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Returns (b, w): the mean with weight i at a document's i-th token, i = 1 ... L.

    RDS+ (Ivison et al. 2025, arXiv 2503.01807): in a decoder later states have seen more. Tokens
    are counted within the document, not in the columns of a batch: padding, on whichever side,
    changes nothing.
    """
    return _weighted(hidden, (mask.cumsum(1) * mask).to(hidden.dtype))


def _weighted(hidden: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    total = weights.sum(1, keepdim=True)
    return torch.bmm((weights / total)[:, None], hidden)[:, 0]


POOLINGS: Mapping[str, Pool] = {
    each.__name__: each for each in (mean, mean_all, last_token, position_weighted)
}
