"""What `selector=gotd` can be told beside epsilon: masses, penalties, memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from shortlist import ot as transport
from shortlist.core import Corpus, Features
from shortlist.errors import DoesNotFit, InvalidInput
from shortlist.ot import resources
from shortlist.selectors.base import score_pool
from shortlist.selectors.gotd import GOTD

CENTRES = np.random.default_rng(0).normal(size=(6, 12))
SETTINGS: dict[str, Any] = {
    "cost": "sqeuclidean",
    "relative_epsilon": 0.05,
    "tolerance": 1e-3,
    "max_passes": 12,
    "sensitivity": False,
    "masses": "documents",
    "target_penalty": None,
    "pool_penalty": None,
    "stored_mib": None,
}


def gotd(**changed: Any) -> GOTD:
    return GOTD(**(SETTINGS | changed))


def cloud(rows: int, clusters: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed)
    which = drawn.integers(clusters, size=rows)
    return (CENTRES[which] + 0.5 * drawn.normal(size=(rows, 12))).astype(np.float32)


def known(
    values: np.ndarray, name: str, texts: list[str] | None = None, **columns: Any
) -> Features:
    """Vectors of documents called `name 0`, `name 1`, ..., sorted by id as every pool is."""
    corpus = Corpus.build(texts or [f"{name} {row}" for row in range(len(values))])
    order = np.argsort(np.array(corpus.ids))
    table = corpus.table
    for column, value in columns.items():
        table = table.append_column(column, pa.array(value))
    sorted_ = Corpus(table).canonical()
    return Features(values[order], sorted_.fingerprint, "key", sorted_)


POOL, TARGET = cloud(600, 6, 1), cloud(40, 2, 2)


def test_masses_of_a_column_are_those_of_the_solve(machine: object) -> None:
    b = np.random.default_rng(3).integers(1, 5, size=600).astype(float)
    a = np.random.default_rng(4).integers(1, 5, size=40).astype(float)
    target, pool = known(TARGET, "t", mass=a), known(POOL, "p", mass=b)
    selector = gotd(masses="column")
    selector.fit(target, pool)
    found = transport.solve(
        pool.values,
        target.values,
        epsilon=0.05,
        tolerance=1e-3,
        a=target.documents.masses,
        b=pool.documents.masses,
    )
    np.testing.assert_array_equal(selector.f.numpy(), found.f.numpy())
    scores = score_pool(selector, pool, machine)
    np.testing.assert_allclose(-scores, found.g.numpy(), atol=1e-5 * found.mean_cost)
    alike = gotd()
    alike.fit(target, pool)
    assert np.abs(score_pool(alike, pool, machine) - scores).max() > 1e-2 * found.mean_cost


def test_clusters_of_copies_count_as_one_document(machine: object) -> None:
    copies = np.repeat(POOL[:50], 6, axis=0)
    # Of forty words a copy changes the last: 35 of 37 sets of five words are the same.
    words = [" ".join(f"w{row}x{at}" for at in range(39)) for row in range(600)]
    texts = [f"{text} end" for text in words]
    texts += [f"{words[row]} other{turn}" for row in range(50) for turn in range(6)]
    pool = known(np.concatenate([POOL, copies]), "p", texts)
    selector, alone, naive = gotd(masses="clusters"), gotd(), gotd()
    selector.fit(known(TARGET, "t"), pool)
    facts = alone.fit(known(TARGET, "t"), known(POOL, "p"))
    naive.fit(known(TARGET, "t"), pool)
    unseen = Features(cloud(50, 6, 9), "print", "key")
    one, two, three = (score_pool(made, unseen, machine) for made in (selector, alone, naive))
    scale = facts["mean_cost"]
    # Potentials of two solves to 1e-3, in epsilons of 0.05 mean costs.
    assert np.abs(one - two).max() < 1e-3 * scale < np.ptp(three - two)


def test_masses_that_are_not_there_are_refused_by_setting() -> None:
    with pytest.raises(InvalidInput, match=r"pool\.mass=COLUMN"):
        gotd(masses="column").fit(known(TARGET, "t"), known(POOL, "p"))
    vectors = [Features(values, "print", "key") for values in (TARGET, POOL)]
    with pytest.raises(InvalidInput, match="masses=clusters needs the documents"):
        gotd(masses="clusters").fit(*vectors)
    with pytest.raises(InvalidInput, match=r"selector\.masses must be one of documents, column"):
        gotd(masses="weights")


def test_penalties_are_multiples_of_the_mean_cost(machine: object) -> None:
    selector = gotd(target_penalty=0.5, pool_penalty=2.0)
    facts = selector.fit(known(TARGET, "t"), known(POOL, "p"))
    found = transport.solve(
        known(POOL, "p").values,
        known(TARGET, "t").values,
        epsilon=0.05,
        target_penalty=0.5,
        pool_penalty=2.0,
        tolerance=1e-3,
    )
    assert found.penalties.target == pytest.approx(0.5 * found.mean_cost)
    scores = score_pool(selector, known(POOL, "p"), machine)
    np.testing.assert_allclose(-scores, found.g.numpy(), atol=1e-5 * found.mean_cost)
    mass = facts["transported_mass"]
    assert mass == pytest.approx(float(found.target_marginal.sum())) and 0.1 < mass < 0.99
    with pytest.raises(InvalidInput, match=r"selector\.pool_penalty must be above 0"):
        gotd(pool_penalty=0)


def test_what_does_not_fit_is_refused_in_the_words_of_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resources, "available_bytes", lambda *_: 2**16)
    with pytest.raises(DoesNotFit, match=r"set selector\.stored_mib=0"):
        gotd().fit(known(TARGET, "t"), known(POOL, "p"))
    with pytest.raises(DoesNotFit, match=r"set selector\.relative_epsilon=0\.01"):
        gotd(relative_epsilon=0).fit(known(TARGET, "t"), known(POOL, "p"))
    monkeypatch.undo()
    with pytest.raises(InvalidInput, match=r"^selector\.relative_epsilon is too small"):
        gotd(relative_epsilon=1e-9).fit(known(TARGET, "t"), known(POOL, "p"))


def test_a_fit_stands_without_a_figure_at_half_its_epsilon() -> None:
    selector = gotd(relative_epsilon=1e-5, sensitivity=True)
    selector.fit(known(TARGET, "t"), known(POOL, "p"))
    facts = selector.sensitivity(known(TARGET, "t"), known(POOL, "p"))
    assert facts["overlap_at_half_epsilon"] is None
    assert "too small for float32" in facts["no_half_epsilon"]
    assert len(selector.f) == 40
