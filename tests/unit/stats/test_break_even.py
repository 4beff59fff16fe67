"""Break-even ratios against costs added up by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shortlist.stats.break_even import break_even_ratio, equal_budget

BUDGETS, CONTROL = np.array([100.0, 300.0, 1000.0]), np.array([0.5, 0.6, 0.61])


def test_the_equal_budget_lies_on_the_line_between_two_budgets_of_the_control() -> None:
    assert equal_budget(BUDGETS, CONTROL, 0.55) == pytest.approx(200)
    assert equal_budget(BUDGETS, CONTROL, 0.6) == pytest.approx(300)
    assert equal_budget(BUDGETS, CONTROL, 0.605) == pytest.approx(650)
    assert equal_budget(BUDGETS, CONTROL, 0.4) == 100
    assert equal_budget(BUDGETS, CONTROL, 0.7) == math.inf
    # A control that falls again: the first budget at which it is as good.
    assert equal_budget(BUDGETS, np.array([0.5, 0.7, 0.6]), 0.6) == pytest.approx(200)


def test_at_the_ratio_both_cost_the_same() -> None:
    selection, document, budget, equal = 42.0, 0.3, 100, 240.0
    ratio = break_even_ratio(selection, document, budget, equal)
    method, control = selection + ratio * document * budget, ratio * document * equal
    assert method == pytest.approx(control)
    assert break_even_ratio(selection, document, budget, 100.0) == math.inf
    assert break_even_ratio(selection, document, budget, 90.0) == math.inf
    assert break_even_ratio(0.0, document, budget, equal) == 0
