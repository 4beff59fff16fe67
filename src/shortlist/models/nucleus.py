"""Nucleus sampling (Holtzman et al. 2020, section 3.1) that rounding hardly ever changes."""

from __future__ import annotations

import torch

WIDTH = 512  # most likely tokens that are looked at first: nearly always they hold the nucleus


def levels(vocabulary: int) -> int:
    """Returns how many halvings lead from that many token ids to one: the numbers a draw needs."""
    return max(1, (vocabulary - 1).bit_length())


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
    """Returns (r,) token ids, drawn from the renormalised nucleus by halving the token ids.

    Each level keeps the lower or the upper half of the ids that are left, in proportion to their
    masses, by a number of its own. Logits that were summed in another order then change a draw where
    a number falls between two roundings of one share: the sum over the levels is near the smallest
    probability that any coupling could have (the distance in variation of the two distributions).
    Inverting one distribution function adds up the shifts of all its steps and is 10 to 30 times
    worse; in the order of the probabilities, where near ties change places, up to some hundred times.

    Args:
        logits: (r, v) float32.
        uniforms: (r, levels(v)) float64 in (0, 1).
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
        return _halved(weights, columns.expand_as(weights), total, uniforms, top_p)
    largest, ids = weights.topk(width, dim=1)
    reached = largest.cumsum(1, dtype=torch.float64)
    # The last of them may tie with a token outside, so the nucleus must end above it.
    inner = (reached >= top_p * total[:, None]) & (largest > largest[:, -1:])
    near = inner.any(1)
    ids, order = ids.sort(dim=1)
    picked = _halved(largest.gather(1, order), ids, total, uniforms, top_p)
    far = (~near).nonzero()[:, 0]
    if len(far):
        whole = columns.expand(len(far), -1)
        picked[far] = _halved(weights[far], whole, total[far], uniforms[far], top_p)
    return picked


def _halved(
    weights: torch.Tensor,
    ids: torch.Tensor,
    total: torch.Tensor,
    uniforms: torch.Tensor,
    top_p: float,
) -> torch.Tensor:
    """Returns the (r,) ids that are left when there is one; `ids` (r, k) rise in each row."""
    inside = weights.where(kept(weights, total, top_p), 0.0)
    summed = torch.nn.functional.pad(inside.cumsum(1, dtype=torch.float64), (1, 0))
    ids = ids.contiguous()

    def below(bound: torch.Tensor) -> torch.Tensor:
        return summed.gather(1, torch.searchsorted(ids, bound))

    low = torch.zeros_like(ids[:, :1])
    first, last = torch.zeros_like(summed[:, :1]), summed[:, -1:]
    for level in range(uniforms.shape[1]):
        middle = low + (1 << (uniforms.shape[1] - 1 - level))
        border = below(middle)
        # A number that was rounded to 1 must not lead to where there is nothing.
        upper = (uniforms[:, level, None] * (last - first) >= border - first) & (last > border)
        low = torch.where(upper, middle, low)
        first, last = torch.where(upper, border, first), torch.where(upper, last, border)
    return low[:, 0]
