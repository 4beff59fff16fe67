"""Nucleus sampling (Holtzman et al. 2020, section 3.1): one token a row from one number in (0, 1)."""

from __future__ import annotations

import torch

WIDTH = 512  # most likely tokens that are looked at first: nearly always they hold the nucleus


def kept(weights: torch.Tensor, total: torch.Tensor, top_p: float) -> torch.Tensor:
    """Returns which tokens are in the nucleus, (r, k) bool.

    The nucleus is the smallest set of most likely tokens whose share reaches `top_p`: the token that
    crosses the border is in, as in transformers' `TopPLogitsWarper`. Of tokens that are exactly as
    likely as that one, the first columns are in, as many as the border needs.

    Args:
        weights: (r, k) probabilities up to a factor a row.
        total: (r,) float64 sum of a row over the whole vocabulary. Where the columns do not reach
            `top_p` of it, all are kept.
        top_p: above 0, at most 1.
    """
    falling = weights.sort(dim=1, descending=True).values
    reached = falling.cumsum(1, dtype=torch.float64)
    border = (reached < top_p * total[:, None]).sum(1, keepdim=True).clamp(max=weights.shape[1] - 1)
    least = falling.gather(1, border)
    above, equal = weights > least, weights == least
    needed = border + 1 - above.sum(1, keepdim=True)
    return above | (equal & (equal.cumsum(1) <= needed))


def pick(
    logits: torch.Tensor,
    uniforms: torch.Tensor,
    top_p: float,
    temperature: float,
    width: int = WIDTH,
) -> torch.Tensor:
    """Returns (r,) token ids, drawn from the renormalised nucleus by inversion.

    The distribution function is summed in float64 over the nucleus in the order of the token ids, not
    of the probabilities: two nearly equal tokens that change places when logits are rounded
    otherwise change nothing. What is left: a draw comes out otherwise where a uniform number falls
    between two roundings of the function, once in some 10^5 draws of float32 logits.

    Args:
        logits: (r, v) float32.
        uniforms: (r,) float64 in (0, 1).
        top_p: as in `kept`.
        temperature: above 0; logits are divided by it.
        width: a row whose `width` most likely tokens hold the nucleus is not sorted as a whole; the
            draws are the same for any.
    """
    scaled = logits / temperature
    weights = (scaled - scaled.amax(1, keepdim=True)).exp()
    total = weights.sum(1, dtype=torch.float64)
    columns = torch.arange(logits.shape[1], device=logits.device)
    if width >= logits.shape[1]:
        return _inverted(weights, columns.expand_as(weights), total, uniforms, top_p)
    largest, ids = weights.topk(width, dim=1)
    reached = largest.cumsum(1, dtype=torch.float64)
    # The last of them may tie with a token outside, so the nucleus must end above it.
    inner = (reached >= top_p * total[:, None]) & (largest > largest[:, -1:])
    near = inner.any(1)
    ids, order = ids.sort(dim=1)
    picked = _inverted(largest.gather(1, order), ids, total, uniforms, top_p)
    far = (~near).nonzero()[:, 0]
    if len(far):
        whole = columns.expand(len(far), -1)
        picked[far] = _inverted(weights[far], whole, total[far], uniforms[far], top_p)
    return picked


def _inverted(
    weights: torch.Tensor,
    ids: torch.Tensor,
    total: torch.Tensor,
    uniforms: torch.Tensor,
    top_p: float,
) -> torch.Tensor:
    """Returns the id in whose stretch of the distribution function each uniform number falls."""
    inside = weights.where(kept(weights, total, top_p), 0.0)
    summed = inside.cumsum(1, dtype=torch.float64)
    end = summed[:, -1:].contiguous()
    place = torch.searchsorted(summed, uniforms[:, None] * end, right=True)
    last = torch.searchsorted(summed, end)  # a number that was rounded to 1 falls behind it
    return ids.gather(1, torch.minimum(place, last))[:, 0]
