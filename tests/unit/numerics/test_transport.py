"""Laws that any transport between a pool and a target obeys."""

import math

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.errors import DoesNotFit, InvalidInput
from shortlist.numerics import transport
from shortlist.numerics.transport import c_transform, calibrate, overlap, solve

F64 = torch.float64
STREAMED = 2**20  # bytes for stored costs: little enough that a few thousand rows are streamed


def cloud(rows: int, seed: int, d: int = 16, clusters: int = 5) -> torch.Tensor:
    """Returns clustered vectors."""
    g = torch.Generator().manual_seed(seed)
    centers = torch.randn(clusters, d, generator=torch.Generator().manual_seed(99))
    which = torch.randint(clusters, (rows,), generator=g)
    return centers[which] + 0.5 * torch.randn(rows, d, generator=g)


POOL, TARGET = cloud(400, 1), cloud(60, 2, clusters=2)
LARGE_POOL, LARGE_TARGET = cloud(6000, 3), cloud(80, 4, clusters=3)


def dense_plan(
    found: transport.Transport, pool: torch.Tensor, target: torch.Tensor
) -> torch.Tensor:
    """Returns the plan of the potentials, (N, M), computed the plain way in float64."""
    cost = torch.cdist(pool.double(), target.double()) ** 2
    kernel = ((found.f[None] + found.g[:, None] - cost) / found.epsilon).exp()
    return kernel / kernel.numel()


@pytest.mark.parametrize("cost", transport.COSTS)
@pytest.mark.parametrize("stored_bytes", [2**29, STREAMED])
def test_both_marginals_are_met_over_the_whole_pool(
    cost: transport.Cost, stored_bytes: int
) -> None:
    found = solve(
        LARGE_POOL, LARGE_TARGET, epsilon=0.02, cost=cost, tolerance=1e-3, stored_bytes=stored_bytes
    )
    assert found.regime == ("dense" if stored_bytes > STREAMED else "streamed")
    assert found.converged and found.target_error <= 1e-3
    assert found.pool_error < 1e-5  # float32 rounding of a row of 80 probabilities
    if cost == "sqeuclidean":
        plan = dense_plan(found, LARGE_POOL, LARGE_TARGET)
        assert float((plan.sum(0) - 1 / 80).abs().sum()) == pytest.approx(
            found.target_error, abs=1e-4
        )
        assert float((plan.sum(1) - 1 / 6000).abs().sum()) < 1e-3  # float32 g against exact costs


@pytest.mark.parametrize("cost", transport.COSTS)
def test_the_dual_never_exceeds_the_primal_and_the_gap_shrinks(cost: transport.Cost) -> None:
    best = solve(POOL, TARGET, epsilon=0.05, cost=cost, tolerance=1e-9, dtype=F64)
    gaps = []
    for tolerance in (0.3, 1e-2, 1e-4, 1e-6):
        found = solve(POOL, TARGET, epsilon=0.05, cost=cost, tolerance=tolerance, dtype=F64)
        assert found.dual <= best.dual + 1e-9 * abs(best.dual)
        assert found.primal >= best.dual - 1e-9 * abs(best.dual)
        gaps.append(found.gap)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-4 * best.dual


def test_the_primal_is_the_objective_of_the_plan() -> None:
    found = solve(POOL, TARGET, epsilon=0.05, tolerance=1e-9, dtype=F64)
    plan, cost = dense_plan(found, POOL, TARGET), torch.cdist(POOL.double(), TARGET.double()) ** 2
    divergence = (plan * (plan * plan.numel()).log()).sum()
    assert found.primal == pytest.approx(
        float((plan * cost).sum() + found.epsilon * divergence), rel=1e-6
    )


def test_it_agrees_with_pot_in_the_log_domain_at_equal_epsilon() -> None:
    cost = (torch.cdist(POOL.double(), TARGET.double()) ** 2).numpy()
    ours = solve(POOL, TARGET, epsilon=0.05, tolerance=1e-10, dtype=F64)
    theirs, log = ot.sinkhorn(
        np.full(400, 1 / 400),
        np.full(60, 1 / 60),
        cost,
        ours.epsilon,
        method="sinkhorn_log",
        numItermax=10000,
        stopThr=1e-12,
        log=True,
    )
    assert np.abs(dense_plan(ours, POOL, TARGET).numpy() - theirs).sum() < 1e-6
    del log


def test_it_agrees_with_the_linear_program_as_epsilon_falls() -> None:
    exact = solve(POOL, TARGET, epsilon=0)
    assert exact.regime == "exact" and exact.converged and abs(exact.gap) < 1e-8
    away = []
    for epsilon in (0.1, 0.01, 0.001):
        found = solve(POOL, TARGET, epsilon=epsilon, tolerance=1e-5, dtype=F64)
        cost = torch.cdist(POOL.double(), TARGET.double()) ** 2
        away.append(float((dense_plan(found, POOL, TARGET) * cost).sum()) - exact.primal)
    assert away == sorted(away, reverse=True)
    assert away[-1] + 1e-4 >= 0 and away[-1] < 0.01 * exact.primal


@pytest.mark.parametrize("regime", ["dense", "exact"])
def test_a_finite_difference_in_one_documents_mass_is_the_calibrated_gradient(regime: str) -> None:
    pool, target = cloud(30, 5), cloud(20, 6, clusters=2)
    epsilon = 0.0 if regime == "exact" else 3.0
    settings_ = {"epsilon": epsilon, "relative": False, "tolerance": 1e-11, "dtype": F64}
    # Unequal target masses: an exact program with equal ones has a kink at equal pool masses.
    a = torch.linspace(1, 2.1, 20, dtype=F64)
    base = torch.linspace(1, 1.7, 30, dtype=F64) / torch.linspace(1, 1.7, 30, dtype=F64).sum()
    gradient = calibrate(solve(pool, target, a=a, b=base, **settings_).g)
    step = 1e-6
    for document in (0, 7, 29):
        values = []
        for sign in (1, -1):
            b = base - sign * step / 29
            b[document] = base[document] + sign * step
            values.append(solve(pool, target, a=a, b=b, **settings_).dual)
        difference = (values[0] - values[1]) / (2 * step)
        assert difference == pytest.approx(float(gradient[document]), rel=1e-4, abs=1e-4)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40))
def test_calibration_is_affine_and_keeps_the_ranking(values: list[float]) -> None:
    g = torch.tensor(values, dtype=F64)
    n = len(g)
    by_definition = torch.stack([g[j] - (g.sum() - g[j]) / (n - 1) for j in range(n)])
    assert torch.allclose(calibrate(g), by_definition, atol=1e-9)
    order = g.argsort()
    assert bool((calibrate(g)[order].diff() >= -1e-9).all())


@settings(max_examples=10, deadline=None)
@given(st.floats(-50, 50), st.integers(0, 15))
def test_moving_both_sides_alike_changes_nothing(shift: float, dimension: int) -> None:
    moved = torch.zeros(16)
    moved[dimension] = shift
    here = solve(POOL, TARGET, epsilon=0.05)
    there = solve(POOL + moved, TARGET + moved, epsilon=0.05)
    # float32 inputs of size 50 carry 4e-6; squared costs of size 20 and the tolerance do the rest
    assert torch.allclose(here.g, there.g, atol=5e-3)


@pytest.mark.parametrize("stored_bytes", [2**29, STREAMED])
def test_the_order_of_the_pool_and_its_shards_changes_nothing(stored_bytes: int) -> None:
    order = torch.randperm(6000, generator=torch.Generator().manual_seed(0))
    shards = [LARGE_POOL[order[s : s + 1500]] for s in (4500, 0, 3000, 1500)]
    rows = torch.cat([order[s : s + 1500] for s in (4500, 0, 3000, 1500)])
    one = solve(LARGE_POOL, LARGE_TARGET, epsilon=0.02, tolerance=1e-5, stored_bytes=stored_bytes)
    two = solve(
        torch.cat(shards), LARGE_TARGET, epsilon=0.02, tolerance=1e-5, stored_bytes=stored_bytes
    )
    assert torch.allclose(one.g[rows], two.g, atol=1e-3 * one.scale)
    assert overlap(one.score[rows], two.score, 0.05) >= 0.99


def test_a_half_precision_store_ranks_as_float32_does() -> None:
    full = solve(LARGE_POOL, LARGE_TARGET, epsilon=0.02, tolerance=1e-3)
    half = solve(
        LARGE_POOL.half().numpy(), LARGE_TARGET.half().numpy(), epsilon=0.02, tolerance=1e-3
    )
    assert overlap(full.score, half.score, 0.05) >= 0.98
    assert half.dual == pytest.approx(full.dual, rel=1e-3)


def test_a_memory_map_gives_what_the_array_gives(tmp_path) -> None:
    np.save(tmp_path / "pool.npy", LARGE_POOL.numpy())
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    one = solve(mapped, LARGE_TARGET, epsilon=0.02, stored_bytes=STREAMED)
    two = solve(LARGE_POOL, LARGE_TARGET, epsilon=0.02, stored_bytes=STREAMED)
    assert torch.equal(one.g, two.g)


@pytest.mark.parametrize("cost", transport.COSTS)
@pytest.mark.parametrize("epsilon", [0.0, 0.02])
def test_candidates_score_the_same_alone_in_batches_and_in_the_fit(
    cost: transport.Cost, epsilon: float
) -> None:
    found = solve(POOL, TARGET, epsilon=epsilon, cost=cost)
    how = {"epsilon": found.epsilon, "cost": cost, "dtype": found.dtype}
    at_once = c_transform(POOL, TARGET, found.f, **how)
    batches = torch.cat([c_transform(part, TARGET, found.f, **how) for part in POOL.split(7)])
    # Another batch size is another order of summation in the product, and nothing else; the square
    # root makes more of it where a candidate lies on a target.
    assert torch.allclose(at_once, batches, atol=1e-5 * found.scale)
    assert torch.allclose(at_once, found.g, atol=1e-5 * found.scale)
    scaled = c_transform(
        POOL, TARGET, found.f, **{**how, "epsilon": found.epsilon / found.scale}, scale=found.scale
    )
    assert torch.allclose(scaled, at_once, atol=1e-5 * found.scale)


def test_planted_documents_like_the_target_outrank_noise() -> None:
    g = torch.Generator().manual_seed(8)
    planted = TARGET + 0.1 * torch.randn(60, 16, generator=g)
    noise = 3 * torch.randn(2000, 16, generator=g)
    score = solve(torch.cat([noise, planted]), TARGET, epsilon=0.02).score
    assert float((score.topk(60).indices >= 2000).double().mean()) > 0.95


def test_a_shard_more_needs_only_a_warm_start() -> None:
    pool, target = cloud(44000, 11), cloud(80, 12, clusters=3)
    how = {"relative": False, "stored_bytes": STREAMED, "tolerance": 1e-2}
    scale = solve(pool[:40000], target, epsilon=0.05, stored_bytes=STREAMED).epsilon
    old = solve(pool[:40000], target, epsilon=scale, **how)
    cold = solve(pool, target, epsilon=scale, **how)
    warm = solve(pool, target, epsilon=scale, start=old, grown=True, **how)
    assert warm.converged and warm.passes <= 0.3 * cold.passes
    assert overlap(warm.score, cold.score, 0.05) >= 0.99
    # The mixed sums are those of the whole pool.
    again = solve(pool, target, epsilon=scale, start=warm.f, max_passes=1, **how)
    assert warm.target_error == pytest.approx(again.target_error, abs=1e-5)
    assert warm.primal == pytest.approx(again.primal, rel=1e-5)


def test_a_shard_of_another_kind_is_noticed_and_solved_for() -> None:
    pool, target = cloud(6000, 11), cloud(80, 12, clusters=3)
    how = {"epsilon": 1.0, "relative": False, "stored_bytes": STREAMED}
    old = solve(pool, target, **how)
    grown = torch.cat([pool, target.repeat(8, 1)])
    warm, cold = solve(grown, target, start=old, grown=True, **how), solve(grown, target, **how)
    assert warm.converged and overlap(warm.score, cold.score, 0.05) >= 0.98


def test_a_grown_pool_that_begins_with_other_rows_is_refused() -> None:
    how = {"epsilon": 1.0, "relative": False, "stored_bytes": STREAMED}
    old = solve(LARGE_POOL, LARGE_TARGET, **how)
    other = torch.cat([LARGE_POOL.flip(0), LARGE_TARGET])
    with pytest.raises(InvalidInput, match="set grown=False"):
        solve(other, LARGE_TARGET, start=old, grown=True, **how)
    with pytest.raises(InvalidInput, match="grown=True needs an earlier result"):
        solve(LARGE_POOL, LARGE_TARGET, grown=True, **how)
    stale = solve(
        torch.cat([LARGE_POOL, LARGE_TARGET.repeat(8, 1)]),
        LARGE_TARGET,
        start=old,
        grown=True,
        max_passes=1,
        **how,
    )
    assert not stale.converged or stale.full_passes == 1


def test_a_transform_prepared_once_scores_batch_after_batch() -> None:
    found = solve(POOL, TARGET, epsilon=0.05)
    score = transport.CTransform(TARGET, found.f, epsilon=found.epsilon)
    once = c_transform(POOL, TARGET, found.f, epsilon=found.epsilon)
    assert torch.equal(score(POOL), once)
    with pytest.raises(InvalidInput, match="one featurizer"):
        score(POOL[:, :8])


def test_unbalanced_problems_stream_too() -> None:
    how = {"epsilon": 0.02, "target_penalty": 5.0, "pool_penalty": 5.0, "tolerance": 1e-4}
    kept = solve(LARGE_POOL, LARGE_TARGET, **how)
    made = solve(LARGE_POOL, LARGE_TARGET, stored_bytes=STREAMED, **how)
    assert made.regime == "streamed" and made.converged
    assert made.dual == pytest.approx(kept.dual, rel=1e-5)
    assert overlap(kept.score, made.score, 0.05) >= 0.99


@pytest.mark.parametrize(
    ("target_penalty", "pool_penalty"), [(5.0, 5.0), (5.0, math.inf), (math.inf, 5.0)]
)
def test_unbalanced_marginals_agree_with_their_optimality_conditions(
    target_penalty: float, pool_penalty: float
) -> None:
    how = {
        "epsilon": 1.0,
        "relative": False,
        "dtype": F64,
        "target_penalty": target_penalty,
        "pool_penalty": pool_penalty,
    }
    found = solve(POOL, TARGET, tolerance=1e-9, **how)
    plan = dense_plan(found, POOL, TARGET)
    assert torch.allclose(plan.sum(0), (-found.f / target_penalty).exp() / 60, atol=1e-9)
    assert torch.allclose(plan.sum(1), (-found.g / pool_penalty).exp() / 400, atol=1e-9)
    assert found.gap == pytest.approx(0, abs=1e-6 * abs(found.dual))
    rough = solve(POOL, TARGET, tolerance=0.1, **how)
    assert rough.dual <= found.dual + 1e-9 <= rough.primal + 2e-9


def test_large_penalties_are_the_balanced_problem() -> None:
    balanced = solve(POOL, TARGET, epsilon=0.05, tolerance=1e-6, dtype=F64)
    soft = solve(
        POOL, TARGET, epsilon=0.05, tolerance=1e-6, dtype=F64, target_penalty=1e6, pool_penalty=1e6
    )
    assert soft.dual == pytest.approx(balanced.dual, rel=1e-4)


def test_a_mass_of_two_is_two_copies_and_a_mass_of_zero_is_none() -> None:
    b = torch.ones(400)
    b[:50] = 2
    b[350:] = 0
    weighted = solve(POOL, TARGET, epsilon=0.05, b=b, tolerance=1e-7, dtype=F64)
    copies = solve(
        torch.cat([POOL[:350], POOL[:50]]),
        TARGET,
        epsilon=weighted.epsilon,
        relative=False,
        tolerance=1e-7,
        dtype=F64,
    )
    assert torch.allclose(weighted.g[:350], copies.g[:350], atol=1e-5)
    a = torch.ones(60)
    a[40:] = 0
    masked = solve(POOL, TARGET, epsilon=1.0, relative=False, a=a, tolerance=1e-7, dtype=F64)
    fewer = solve(POOL, TARGET[:40], epsilon=1.0, relative=False, tolerance=1e-7, dtype=F64)
    assert torch.allclose(masked.g, fewer.g, atol=1e-5)
    assert bool((masked.f[40:] == 0).all()) and bool((masked.target_marginal[40:] == 0).all())
    alone = c_transform(POOL, TARGET, masked.f, epsilon=1.0, a=a, dtype=F64)
    assert torch.allclose(alone, masked.g, atol=1e-9)


def test_the_divergence_of_a_corpus_from_itself_is_zero_and_grows_with_distance() -> None:
    far = [
        transport.sinkhorn_divergence(POOL, POOL + shift, epsilon=0.05, dtype=F64)
        for shift in (0.0, 0.5, 1.0)
    ]
    assert abs(far[0]) < 1e-6
    assert far == sorted(far)
    # Moving by v costs |v|^2 exactly once the entropic bias is gone.
    assert far[2] == pytest.approx(16, rel=0.05)


def test_epsilon_sensitivity_is_an_overlap() -> None:
    found = solve(LARGE_POOL, LARGE_TARGET, epsilon=0.02)
    figure = transport.epsilon_sensitivity(found, LARGE_POOL, LARGE_TARGET)
    assert figure.converged and 0.5 < figure.overlap <= 1


def test_the_released_solver_stops_by_its_own_rule_and_its_ranking_is_near() -> None:
    how = {"momentum": 1.3, "max_iterations": 2000}
    loose = transport.released_sinkhorn(POOL, TARGET, epsilon=2.0, threshold=0.1, **how)
    tight = transport.released_sinkhorn(POOL, TARGET, epsilon=2.0, threshold=1e-5, **how)
    ours = solve(POOL, TARGET, epsilon=2.0, relative=False, tolerance=1e-5)
    assert loose.converged and loose.pool_error <= 0.1 and loose.passes < tight.passes
    assert tight.dual == pytest.approx(ours.dual, rel=1e-5)
    assert torch.allclose(calibrate(tight.g), calibrate(ours.g), atol=1e-3)


@pytest.mark.parametrize(
    "case", ["one target", "fewer candidates", "one candidate", "duplicates", "zeros"]
)
def test_odd_problems_are_answered(case: str) -> None:
    pool, target = {
        "one target": (POOL, TARGET[:1]),
        "fewer candidates": (POOL[:9], TARGET),
        "one candidate": (POOL[:1], TARGET),
        "duplicates": (POOL[:5].repeat(60, 1), TARGET[:3].repeat(20, 1)),
        "zeros": (torch.cat([POOL, torch.zeros(9, 16)]), TARGET),
    }[case]
    found = solve(pool, target, epsilon=0.05)
    assert found.converged and bool(torch.isfinite(found.g).all())
    assert len(found.g) == len(pool) and len(found.f) == len(target)
    if case == "duplicates":
        assert torch.allclose(found.g[:5], found.g[5:10], atol=1e-5)


@pytest.mark.parametrize("stored_bytes", [2**29, STREAMED])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_vector_that_is_not_finite_is_refused_by_row(stored_bytes: int, value: float) -> None:
    pool = LARGE_POOL.clone()
    pool[4321, 3] = value
    with pytest.raises(InvalidInput, match="pool row: 4321"):
        solve(pool, LARGE_TARGET, epsilon=0.05, stored_bytes=stored_bytes)
    with pytest.raises(InvalidInput, match="target row: 4321"):
        solve(LARGE_POOL, pool, epsilon=0.05, stored_bytes=stored_bytes)
    with pytest.raises(InvalidInput, match="pool row: 4321"):
        c_transform(pool, LARGE_TARGET, torch.zeros(80), epsilon=0.5)


def test_a_zero_vector_has_no_cosine() -> None:
    pool = LARGE_POOL.clone()
    pool[77] = 0
    with pytest.raises(InvalidInput, match=r"not zero .cost=cosine.; drop or repair pool row: 77"):
        solve(pool, LARGE_TARGET, epsilon=0.05, cost="cosine")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epsilon": 1e-9}, "epsilon is too small"),
        ({"epsilon": -1.0}, "epsilon must be"),
        ({"epsilon": math.nan}, "epsilon must be"),
        ({"cost": "manhattan"}, "cost must be one of"),
        ({"a": torch.ones(3)}, "one mass a row"),
        ({"b": -torch.ones(400)}, "not negative"),
        ({"start": torch.zeros(3)}, "one finite value a target"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"dtype": torch.float16}, "dtype"),
        ({"pool_penalty": 0.0}, "penalties"),
    ],
)
def test_bad_settings_are_refused_by_name(change: dict, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        solve(POOL, TARGET, **{"epsilon": 0.05, **change})


def test_bad_shapes_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="one featurizer"):
        solve(POOL, TARGET[:, :8], epsilon=0.05)
    with pytest.raises(InvalidInput, match="not empty"):
        solve(POOL[:0], TARGET, epsilon=0.05)
    with pytest.raises(InvalidInput, match="convert it"):
        solve(POOL.long(), TARGET, epsilon=0.05)
    with pytest.raises(InvalidInput, match="mean cost of zero"):
        solve(torch.ones(5, 2), torch.ones(3, 2), epsilon=0.05)


def test_what_is_too_small_for_float32_is_solved_in_float64() -> None:
    small = 3e-7
    with pytest.raises(InvalidInput, match="dtype=float64"):
        solve(POOL[:40], TARGET[:20], epsilon=small)
    found = solve(POOL[:40], TARGET[:20], epsilon=small, dtype=F64)
    exact = solve(POOL[:40], TARGET[:20], epsilon=0)
    assert found.dual == pytest.approx(exact.dual, rel=1e-3) or not found.converged


def test_a_forecast_chooses_the_regime_and_refuses_what_cannot_fit() -> None:
    assert transport.forecast(100, 10, 4, epsilon=0).regime == "exact"
    assert transport.forecast(1000, 100, 4, epsilon=0.1).regime == "dense"
    large = transport.forecast(10**7, 2000, 384, epsilon=0.1, memory_limit=2**31)
    assert large.regime == "streamed" and "10,000,000 x 2,000" in large.sentence
    with pytest.raises(DoesNotFit, match=r"set epsilon=0\.01"):
        transport.forecast(10**6, 2000, 384, epsilon=0)
    with pytest.raises(DoesNotFit, match="set regime=streamed"):
        transport.forecast(10**6, 2000, 384, epsilon=0.1, regime="dense", memory_limit=2**31)
    with pytest.raises(DoesNotFit, match="fewer targets"):
        transport.forecast(10**7, 50000, 384, epsilon=0.1, memory_limit=2**28)
    with pytest.raises(DoesNotFit, match="time_limit"):
        transport.forecast(10**7, 50000, 384, epsilon=0.1, memory_limit=2**36, time_limit=1)


def test_a_sample_whose_costs_are_not_kept_gives_the_same_answer() -> None:
    kept = solve(LARGE_POOL, LARGE_TARGET, epsilon=0.02, tolerance=1e-4)
    made = solve(
        LARGE_POOL, LARGE_TARGET, epsilon=0.02, tolerance=1e-4, stored_bytes=1, regime="streamed"
    )
    assert made.converged and overlap(kept.score, made.score, 0.05) >= 0.99


def test_an_unfinished_solve_says_so() -> None:
    found = solve(
        LARGE_POOL, LARGE_TARGET, epsilon=0.005, tolerance=1e-6, max_passes=1, stored_bytes=STREAMED
    )
    assert not found.converged and found.target_error > 1e-6 and found.full_passes == 1


def test_the_callers_matmul_precision_comes_back_and_does_not_matter() -> None:
    before = torch.backends.mkldnn.matmul.fp32_precision
    plain = solve(POOL, TARGET, epsilon=0.05)
    try:
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        again = solve(POOL, TARGET, epsilon=0.05)
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before
    assert torch.equal(plain.g, again.g)


def test_a_generator_draws_the_sample_and_the_answer_stays() -> None:
    how = {"epsilon": 0.02, "tolerance": 1e-4, "stored_bytes": STREAMED}
    middle = solve(LARGE_POOL, LARGE_TARGET, **how)
    drawn = solve(LARGE_POOL, LARGE_TARGET, generator=torch.Generator().manual_seed(5), **how)
    assert overlap(middle.score, drawn.score, 0.05) >= 0.99


def test_progress_is_told() -> None:
    seen: list[tuple[float, float]] = []
    solve(
        LARGE_POOL,
        LARGE_TARGET,
        epsilon=0.02,
        stored_bytes=STREAMED,
        progress=lambda passes, error: seen.append((passes, error)),
    )
    passes = [p for p, _ in seen]
    assert passes == sorted(passes) and seen[-1][1] <= 5e-3


def test_digit_images_are_selected_by_class() -> None:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    threes = images[labels == 3]
    score = solve(
        images[:1500].astype(np.float32), threes[-40:].astype(np.float32), epsilon=0.02
    ).score
    chosen = labels[:1500][score.topk(100).indices.numpy()]
    assert (chosen == 3).mean() > 0.9
