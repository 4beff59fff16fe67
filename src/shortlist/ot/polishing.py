"""From f on the sample to f over the pool: visit, correct on the sample, extrapolate, again."""

import logging
import math

import numpy as np
import torch
from torch import Tensor

from .newton import anneal, refine, sinkhorn_step
from .problem import Problem, Progress
from .sample import FLOOR
from .stream import Visit
from .widening import finer, widened

log = logging.getLogger(__name__)

CONTRACTION = 0.2  # of the error by one correction, before any was measured (seen: 0.06 to 0.15)


def dense(
    problem: Problem, start: Tensor | None, tolerance: float, progress: Progress | None
) -> tuple[Tensor, Visit]:
    """Returns (f, visit) where the sample is the whole pool."""
    sample = problem.sample()
    # Below, as streamed solves end below: their last correction overshoots the tolerance too.
    goal = 0.5 * tolerance
    if start is None:
        f, _, known = anneal(
            sample, torch.zeros_like(problem.a), problem.a, problem.epsilon, problem.scale, goal
        )
    else:
        f, _, known = refine(sample, start, problem.a, problem.epsilon, goal, sweeps=5, steps=30)
    f = problem.centred(f)
    last = problem.look(f, False, progress, known, kept=sample.kept)
    return f, last


def streamed(
    problem: Problem,
    start: Tensor | None,
    tolerance: float,
    max_passes: int,
    progress: Progress | None,
) -> tuple[Tensor, Visit]:
    """Returns (f, visit) for a pool of which only a sample is kept."""
    if start is None:
        zero = torch.zeros_like(problem.a)
        f, p, _ = anneal(
            problem.sample(), zero, problem.a, problem.epsilon, problem.scale, 0.5 * tolerance
        )
        f, p = finer(problem, f, p, tolerance)
        f = problem.centred(f)
        ahead = widened(problem, f, p, tolerance, progress)
        f = f if ahead is None else corrected(problem, f, ahead, 0.1 * tolerance)
    else:
        f = start
    f = problem.centred(f)
    rough, known, rate, best = problem.rough and start is None, math.inf, CONTRACTION, math.inf
    kept_f, kept_p, lowest, lowest_f, stalled = f, problem.a, math.inf, f, 0
    trail: list[tuple[Tensor, Tensor]] = []  # (f, its correction), for the extrapolation
    last_turn = max_passes - 1
    for turn in range(last_turn + 1):
        # Three visits without a new lowest error: float32 has no more to give.
        final = turn == last_turn or stalled >= 3
        f = lowest_f if stalled >= 3 else f
        exact = not rough or final
        last = problem.look(f, not exact, progress, known)
        before, known = known, problem.error(last.marginal, f)
        if progress is not None:
            progress(problem.passes, known)
        log.info("transport pass %d: target error %.2e", turn + 1, known)
        if exact and (known <= tolerance or final):
            return f, last
        stalled = 0 if known < 0.9 * lowest else stalled + 1
        if known < lowest:
            lowest, lowest_f = known, f
        if known < 0.9 * best:
            best, kept_f, kept_p = known, f, last.marginal
            asked = corrected(problem, f, last.marginal, max(0.03 * known, 0.1 * tolerance))
            trail = [*trail[-3:], (f, problem.centred(asked) - f)]
            f = _extrapolated(trail, problem.a)
        else:  # the sample misleads here: a Sinkhorn step from the best so far always helps
            f = sinkhorn_step(kept_f, kept_p, problem.a, problem.epsilon, problem.penalties)
            kept_f, best, trail = f, math.inf, []
        f = problem.centred(f)
        if math.isfinite(before):
            rate = min(1.0, known / before)
        rough = problem.rough and known * rate > tolerance and turn < last_turn - 1
    raise AssertionError("unreachable: the last turn returns")


def corrected(problem: Problem, f: Tensor, p: Tensor, tolerance: float) -> Tensor:
    """Returns f moved so that the pool's marginal comes to a, by the sample's curvature."""
    sample = problem.sample()
    ratio = p.clamp_min(FLOOR) / sample.marginal(f, problem.epsilon).clamp_min(FLOOR)
    asked = problem.a / ratio.clamp(1e-3, 1e3)
    if problem.penalties.balanced:
        asked = asked / asked.sum()
    return refine(sample, f, asked, problem.epsilon, tolerance, sweeps=0, steps=4)[0]


def _extrapolated(trail: list[tuple[Tensor, Tensor]], a: Tensor) -> Tensor:
    """Returns the next f by Anderson's mixing of the corrections so far.

    The sample's curvature is not quite the pool's: what one correction leaves, the next one leaves
    again in the same proportion. The affine combination of all (f, correction) whose correction is
    smallest, in the norm weighted by a, takes that out (Walker and Ni 2011, eq. 2.1).
    """
    f, move = trail[-1]
    if len(trail) == 1:
        return f + move
    weight = a.sqrt()
    moves = torch.stack([move - other for _, other in trail[:-1]], 1)
    places = torch.stack([f - other for other, _ in trail[:-1]], 1)
    left, right = (moves * weight[:, None]).cpu().numpy(), (move * weight).cpu().numpy()
    mix = torch.as_tensor(np.linalg.lstsq(left, right, rcond=None)[0]).to(f.device)
    return f + move - (places + moves) @ mix
