"""Potentials of `solve` against those of ott-jax, converged in float64 (see make_ott_jax.py)."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from shortlist.ot import CTransform, solve

F64 = torch.float64
GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_name("ott_jax.json").read_text("utf-8"))
POOL, TARGET = (torch.tensor(GOLDEN[name], dtype=F64) for name in ("pool", "target"))


def name(case: dict[str, Any]) -> str:
    masses = "uneven" if case["uneven_masses"] else "uniform"
    return f"{case['cost']}-{case['relative_epsilon']}-{masses}"


def masses(case: dict[str, Any], *names: str) -> dict[str, torch.Tensor]:
    return {key: torch.tensor(GOLDEN[key]) for key in names if case["uneven_masses"]}


# Shares of the mean cost. Float64: ott-jax regularises the square root of a norm, which moves its
# cosines by 3e-9. Float32: errors were 5e-6 at most, and the solve stops at a marginal error of 1e-5.
@pytest.mark.parametrize(
    ("dtype", "tolerance", "within"), [(F64, 1e-10, 1e-8), (torch.float32, 1e-5, 2e-5)]
)
@pytest.mark.parametrize("case", GOLDEN["cases"], ids=name)
def test_potentials_and_dual_values_are_those_of_ott_jax(
    case: dict[str, Any], dtype: torch.dtype, tolerance: float, within: float
) -> None:
    found = solve(
        POOL,
        TARGET,
        epsilon=case["relative_epsilon"],
        cost=case["cost"],
        tolerance=tolerance,
        dtype=dtype,
        **masses(case, "a", "b"),
    )
    scale = case["mean_cost"]
    assert found.converged and found.mean_cost == pytest.approx(scale, rel=within)
    torch.testing.assert_close(
        found.f, torch.tensor(case["f"], dtype=F64), rtol=0, atol=within * scale
    )
    torch.testing.assert_close(
        found.g, torch.tensor(case["g"], dtype=F64), rtol=0, atol=within * scale
    )
    # The dual is stationary at the optimum: its error is of second order.
    assert found.dual == pytest.approx(case["dual"], rel=1e-12 if dtype == F64 else 1e-6)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=name)
def test_the_c_transform_of_ott_jax_f_is_its_g(case: dict[str, Any]) -> None:
    scale = case["mean_cost"]
    transform = CTransform(
        TARGET,
        torch.tensor(case["f"], dtype=F64),
        epsilon=case["relative_epsilon"] * scale,
        cost=case["cost"],
        dtype=F64,
        **masses(case, "a"),
    )
    expected = torch.tensor(case["g"], dtype=F64)
    torch.testing.assert_close(transform(POOL), expected, rtol=0, atol=1e-8 * scale)
