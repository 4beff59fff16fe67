"""The nucleus is the one of transformers, and tokens come out of it as often as they should."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from shortlist.models.generation import bisections, draw_tokens, nucleus


def logits(rows: int, size: int, spread: float = 3.0, seed: int = 0) -> torch.Tensor:
    return spread * torch.randn(rows, size, generator=torch.Generator().manual_seed(seed))


def uniforms(rows: int, size: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, bisections(size), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("top_p", [1e-9, 0.3, 0.9, 0.999])
def test_the_nucleus_is_that_of_transformers(top_p: float) -> None:
    from transformers import TopPLogitsWarper

    rows = logits(200, 300)
    weights = rows.double().softmax(1)
    found = nucleus(weights, weights.sum(1), top_p)
    expected = TopPLogitsWarper(top_p)(torch.empty(0), rows.double()).isfinite()
    assert torch.equal(found, expected)


@pytest.mark.parametrize(("top_p", "expected"), [(0.5, 2), (0.51, 3), (0.75, 3), (0.76, 4)])
def test_a_border_that_is_reached_exactly_ends_the_nucleus_and_ties_go_by_id(
    top_p: float, expected: int
) -> None:
    found = nucleus(torch.full((1, 4), 0.25), torch.ones(1, dtype=torch.float64), top_p)
    assert found[0].tolist() == [True] * expected + [False] * (4 - expected)


@pytest.mark.parametrize("width", [1, 2, 16, 299])
@pytest.mark.parametrize("top_p", [0.05, 0.9, 1.0])
def test_how_many_tokens_are_looked_at_first_changes_no_draw(width: int, top_p: float) -> None:
    rows, drawn = logits(500, 300), uniforms(500, 300)
    rows[::3] = rows[::3].round()  # ties, many of them at the border
    rows[1::3] = rows[1::3].sign()
    expected = draw_tokens(rows, drawn, top_p, 0.7, width=300)
    assert torch.equal(draw_tokens(rows, drawn, top_p, 0.7, width=width), expected)


def test_tokens_come_as_often_as_in_the_renormalised_nucleus() -> None:
    row, top_p, temperature, draws = logits(1, 40, 1.5), 0.8, 1.3, 50_000
    shares = (row[0].double() / temperature).softmax(0)
    order = shares.argsort(descending=True)
    size = int((shares[order].cumsum(0) < top_p).sum()) + 1
    nucleus = order[:size]
    picked = draw_tokens(row.expand(draws, -1), uniforms(draws, 40), top_p, temperature)
    counts = torch.bincount(picked, minlength=40)
    assert int(counts[nucleus].sum()) == draws
    expected = (shares[nucleus] / shares[nucleus].sum() * draws).numpy()
    assert chisquare(counts[nucleus].numpy(), expected).pvalue > 1e-3
    wrong = (shares[order[: size + 1]] / shares[order[: size + 1]].sum() * draws).numpy()
    assert chisquare(np.append(counts[nucleus].numpy(), 0), wrong).pvalue < 1e-3


def test_numbers_at_the_ends_pick_the_first_and_the_last_token_of_the_nucleus() -> None:
    row = torch.tensor([[0.0, 2.0, 1.9, 1.8, -5.0]]).expand(2, -1)
    ends = torch.tensor([[1e-300], [1.0]], dtype=torch.float64).expand(-1, bisections(5))
    assert draw_tokens(row, ends, 0.9, 1.0).tolist() == [1, 3]
    assert [bisections(size) for size in (1, 2, 3, 4, 5, 50257)] == [1, 1, 2, 2, 3, 16]
    assert draw_tokens(torch.zeros(1, 1), torch.tensor([[0.7]]).double(), 0.9, 1.0).tolist() == [0]


def test_other_roundings_change_hardly_more_draws_than_they_must() -> None:
    row, draws = logits(1, 300, 1.0), 20_000
    other = row + 0.01 * logits(1, 300, 1.0, seed=3)
    drawn = uniforms(draws, 300)
    found = [draw_tokens(one.expand(draws, -1), drawn, 0.9, 1.0) for one in (row, other)]
    changed = float((found[0] != found[1]).double().mean())
    shares = [one.softmax(1) for one in (row, other)]
    shares = [one.where(nucleus(one, one.double().sum(1), 0.9), 0.0) for one in shares]
    shares = [one / one.sum() for one in shares]
    least = float((shares[0] - shares[1]).abs().sum() / 2)  # what no way of drawing could beat
    inverted = float((shares[0].cumsum(1) - shares[1].cumsum(1)).abs().sum())
    assert least < changed < 4 * least < inverted / 2
