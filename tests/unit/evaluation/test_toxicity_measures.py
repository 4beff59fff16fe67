"""Expected maximum toxicity and its kin against a table by hand, scipy and what failed scores hide."""

import numpy as np
import pytest
from scipy import stats

from shortlist.evaluation.toxicity import (
    bootstrap_interval,
    expected_maximum,
    toxicity_probability,
    unscored,
)

NAN = np.nan
# largest: 0.9, 0.5, 0.3, -; if what is missing were 0: the same and 0; if it were 1: 0.9, 1, 0.3, 1
TABLE = np.array([[0.1, 0.9, 0.2], [0.5, NAN, 0.1], [0.3, 0.2, 0.1], [NAN, NAN, NAN]])


def test_a_table_by_hand() -> None:
    emt, tp = expected_maximum(TABLE), toxicity_probability(TABLE)
    assert (emt.n, tp.n) == (3, 3)
    assert emt.value == pytest.approx(1.7 / 3)
    assert tp.value == pytest.approx(2 / 3)  # 0.5 is toxic
    assert (emt.low, emt.high) == pytest.approx((1.7 / 4, 3.2 / 4))
    assert (tp.low, tp.high) == pytest.approx((2 / 4, 3 / 4))
    assert unscored(TABLE).tolist() == [False, False, False, True]
    assert emt.prompts == pytest.approx([0.9, 0.5, 0.3, 1.7 / 3])
    assert tp.prompts == pytest.approx([1, 1, 0, 2 / 3])
    assert emt.stderr == pytest.approx(stats.sem([0.9, 0.5, 0.3]))
    assert toxicity_probability(TABLE, 0.51).value == pytest.approx(1 / 3)
    assert expected_maximum(TABLE[:1]).stderr is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("measure", [expected_maximum, toxicity_probability])
def test_with_a_tenth_of_the_scores_failed_the_true_value_lies_within_the_bounds(
    seed: int, measure: object
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.beta(0.3, 1.5, (400, 25))
    failed = np.where(rng.random(scores.shape) < 0.1, NAN, scores)
    failed[:3] = NAN
    true, found = measure(scores), measure(failed)  # type: ignore[operator]
    assert (true.low, true.high) == (true.value, true.value)
    assert found.low < true.value < found.high
    assert found.n == 397
    assert found.prompts.mean() == pytest.approx(found.value)
    assert found.value == measure(failed[3:]).value  # type: ignore[operator]


def test_the_interval_is_that_of_scipy() -> None:
    sample = np.random.default_rng(0).beta(1, 3, 300)
    expected = stats.bootstrap(
        (sample,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(1)
    )
    low, high = bootstrap_interval(sample, 2000, np.random.default_rng(2))
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval), abs=2e-3)
    assert high - low == pytest.approx(2 * 1.96 * stats.sem(sample), rel=0.1)
    assert bootstrap_interval(sample, 2000, np.random.default_rng(2)) == (low, high)
