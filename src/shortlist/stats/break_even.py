"""When a selection pays for itself: what it costs against the training that it saves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def equal_budget(
    budgets: NDArray[np.float64], control: NDArray[np.float64], benefit: float
) -> float:
    """Returns the budget at which the control first has a benefit, by linear interpolation between
    its budgets; infinite where it has it at none of them.

    Args:
        budgets: (b,) budgets of the control, ascending.
        control: (b,) its benefit at each; larger is better.
        benefit: the benefit to reach.
    """
    reached = np.flatnonzero(control >= benefit)
    if not len(reached):
        return math.inf
    first = int(reached[0])
    if first == 0:
        return float(budgets[0])
    (x, y), (a, b) = budgets[first - 1 : first + 1], control[first - 1 : first + 1]
    return float(x + (y - x) * (benefit - a) / (b - a))


def break_even_ratio(selection: float, document: float, budget: float, equal: float) -> float:
    """Returns the ratio of the trained to the selecting model at which a method costs as much as a
    control that is trained on more documents for the same benefit; infinite where it saves none.

    selection = ratio * document * (equal - budget): a larger trained model multiplies what a
    document costs in training and leaves the cost of the selection as it is (Yin and Rush 2024,
    "Compute-constrained data selection").

    Args:
        selection: cost of the selection with the present model.
        document: cost of training the present model on a document.
        budget: documents of the method.
        equal: documents at which the control has its benefit.
    """
    saved = document * (equal - budget)
    return selection / saved if saved > 0 else math.inf
