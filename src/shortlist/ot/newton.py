"""The target potential f on a sample at one epsilon, and down the levels to a small one."""

import math

import torch
from torch import Tensor

from .sample import FLOOR, Look, Penalties, Sample, linear, marginal_error

REACH = 0.05  # error of a level from which the next one starts well
STEEPEST, GENTLEST = 3.0, 1.05  # what a level divides epsilon by
ATTEMPTS = 60  # at levels; from 3 to 1.05 and back takes five
DAMPING = (1e-5, 1e-3, 0.1)  # of the diagonal; the next one where a step was no improvement


def sinkhorn_step(
    f: Tensor, p: Tensor, a: Tensor, epsilon: float, penalties: Penalties, relax: float = 1.0
) -> Tensor:
    """Returns f after one Sinkhorn update of the target side, over-relaxed by `relax`."""
    gain = (penalties.wanted(a, f).clamp_min(FLOOR) / p.clamp_min(FLOOR)).log()
    slack = 1.0 if math.isinf(penalties.target) else 1 / (1 + epsilon / penalties.target)
    return f + relax * slack * epsilon * gain


def refine(
    sample: Sample,
    f: Tensor,
    a: Tensor,
    epsilon: float,
    tolerance: float,
    *,
    sweeps: int,
    steps: int = 12,
) -> tuple[Tensor, Tensor, float]:
    """Returns (f, marginal, error) on the sample at one epsilon.

    Up to `sweeps` over-relaxed Sinkhorn sweeps, which are cheap and bring any start into Newton's
    reach, then up to `steps` Newton steps. A step counts if it lowers the error or raises the dual,
    which is concave (the error alone may have to rise on the way); else it is halved, and after
    four halvings damped, and where that does not help either gives way to Sinkhorn sweeps.
    """
    penalties = sample.penalties
    here = sample.look(f, epsilon)
    error = marginal_error(here.marginal, penalties.wanted(a, f))
    relax = 1.3 if penalties.balanced else 1.0
    for _ in range(sweeps):
        if error <= tolerance:
            return f, here.marginal, error
        f = sinkhorn_step(f, here.marginal, a, epsilon, penalties, relax)
        here = sample.look(f, epsilon)
        before, error = error, marginal_error(here.marginal, penalties.wanted(a, f))
        if error > before:
            relax = 1.0
    trust = 0
    for _ in range(steps):
        if error <= tolerance:
            break
        forcing, wanted = min(0.1, max(error, 0.3 * tolerance / error)), penalties.wanted(a, f)
        move = sample.direction(here.marginal, wanted, epsilon, forcing, DAMPING[trust])
        found = _search(sample, f, here, error, a, epsilon, move)
        if found is not None:
            (f, here), trust = found, max(0, trust - 1)
        elif trust + 1 < len(DAMPING):
            trust += 1
            here = sample.look(f, epsilon)  # the kept plan must be that of f again
        else:
            for _ in range(5):
                f = sinkhorn_step(f, here.marginal, a, epsilon, penalties)
                here = sample.look(f, epsilon)
        error = marginal_error(here.marginal, penalties.wanted(a, f))
    return f, here.marginal, error


def _search(
    sample: Sample, f: Tensor, here: Look, error: float, a: Tensor, epsilon: float, move: Tensor
) -> tuple[Tensor, Look] | None:
    """Returns the longest of the halved steps along `move` that is an improvement, if one is."""
    if not bool(torch.isfinite(move).all()):
        return None
    penalties = sample.penalties
    slope = float(move @ (penalties.wanted(a, f) - here.marginal))
    value = linear(a, f, penalties.target) + here.value
    for step in (1.0, 0.5, 0.25, 0.125, 0.0625):
        tried = f + step * move
        there = sample.look(tried, epsilon)
        risen = linear(a, tried, penalties.target) + there.value - value
        found = marginal_error(there.marginal, penalties.wanted(a, tried))
        if found < error or risen > 1e-4 * step * slope > 0:
            return tried, there
    return None


def anneal(
    sample: Sample, f: Tensor, a: Tensor, epsilon: float, scale: float, tolerance: float
) -> tuple[Tensor, Tensor, float]:
    """Returns (f, marginal, error) at epsilon, coming down from a fifth of the mean cost.

    Each level divides epsilon by three and needs its error only to stay within reach of the next;
    where it does not come to that, levels are put between: by the root of the factor, and again.
    """
    level, factor = max(epsilon, 0.2 * scale), STEEPEST
    if level > epsilon:
        f = refine(sample, f, a, level, REACH, sweeps=6, steps=3)[0]
    for _ in range(ATTEMPTS):
        following = max(epsilon, level / factor)
        last = following <= epsilon * 1.001
        goal, sweeps, steps = (tolerance, 10, 12) if last else (REACH, 6, 4)
        found = refine(sample, f, a, following, goal, sweeps=sweeps, steps=steps)
        if last and found[2] <= goal:
            return found
        factor = level / following
        if found[2] > max(goal, REACH) and factor > GENTLEST:
            factor = math.sqrt(factor)
            continue
        f, level, factor = found[0], following, min(STEEPEST, max(factor, GENTLEST) ** 1.5)
        if last:
            break
    return refine(sample, f, a, epsilon, tolerance, sweeps=0, steps=30)
