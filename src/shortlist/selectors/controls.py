"""Controls and baselines that read no vectors: random, no warm-up, all domains, DAPT, TAPT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from shortlist.core import Budget
from shortlist.errors import InvalidInput, near
from shortlist.selectors.base import (
    Choice,
    ScoredPool,
    Selector,
    Traits,
    documents_of,
    take,
    take_ranked,
)
from shortlist.stats.sampling import draw_key, order, uniform


class Random(Selector):
    """A uniform sample without replacement: the documents with the largest hash of (seed, id).

    A larger budget with the same seed contains the selection for a smaller one.

    Formula:
        score(x) = uniform number from a hash of (seed, id of x)

    Paper:
        None: the baseline that every method must beat.

    Deviations:
        None.

    Cost:
        One hash a document; no text is read.
    """

    traits = Traits(stochastic=True, target_aware=False, reads_pool="nothing")

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns the documents whose random number, a hash of (seed, id), is largest."""
        noise = uniform(scores.id_bits, draw_key(generator))
        noise[~scores.selectable] = -np.inf
        sampled = ScoredPool(noise, scores.id_bits, scores.costs)
        return take(sampled.ranking, sampled, budget)


class Vanilla(Selector):
    """No-warm-up control: nothing is selected, and the base model is fine-tuned directly.

    The cell is the same for every budget.

    Formula:
        The selection is empty.

    Paper:
        None: the row "vanilla" or "base" of published tables.

    Deviations:
        None.

    Cost:
        None for the selection, and no warm-up.
    """

    traits = Traits(target_aware=False, empty=True)

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns an empty choice."""
        return Choice(np.empty(0, dtype=np.int64), np.empty(0))


class AllDomains(Selector):
    """Random documents, the same number from every domain of the pool.

    A domain without documents left is skipped and counted as `exhausted`.

    Formula:
        Round n holds the n-th document, in random order, of each domain; domains take turns in a
        random order drawn for each round.

    Paper:
        Kang et al., ICLR 2024 (arXiv 2405.02774), section 3.2: the baseline "all domains".

    Deviations:
        The paper samples equal numbers of all domains, which is the same selection where no domain
        runs out.

    Cost:
        One hash a document; no text is read.
    """

    traits = Traits(stochastic=True, target_aware=False)

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns the documents by round: the n-th of every domain before the n+1-th of any."""
        noise, turn = (uniform(scores.id_bits, draw_key(generator)) for _ in range(2))
        selectable = scores.selectable
        domains = documents_of(scores, "selector=all_domains").domains
        _, domain = np.unique(np.array(domains), return_inverse=True)
        rounds = np.zeros(len(noise), dtype=np.int64)
        drawn = order(noise, scores.id_bits)
        drawn = drawn[selectable[drawn]]
        sizes = np.bincount(domain[selectable], minlength=domain.max() + 1)
        by_domain = drawn[np.argsort(domain[drawn], kind="stable")]
        rounds[by_domain] = np.concatenate([np.arange(size) for size in sizes])
        # Another number orders a round: the first document of a large domain has a larger `noise`.
        choice = take_ranked(drawn[np.lexsort((turn[drawn], rounds[drawn]))], scores, budget)
        last = int(rounds[choice.rows].max())
        return replace(choice, report={"exhausted": int(((sizes > 0) & (sizes <= last)).sum())})


class DAPT(Selector):
    """Domain-adaptive pre-training: a uniform sample, without replacement, of the named domains.

    You name the domain, so it shows what knowing the right domain is worth.

    Formula:
        score(x) = uniform number from a hash of (seed, id of x) in the named domains, else -inf

    Paper:
        Gururangan et al., ACL 2020 (arXiv 2004.10964), section 3; the curated baseline of GOT-D's
        table 2.

    Deviations:
        The budget limits the sample, where the paper trains on a whole domain corpus.

    Cost:
        One hash a document; no text is read.
    """

    traits = Traits(stochastic=True, target_aware=False)

    def __init__(self, domains: Sequence[str]) -> None:
        """Stores the settings.

        Args:
            domains: names of domains of the pool.

        Raises:
            InvalidInput: none is named.
        """
        super().__init__()
        self.domains = tuple([domains] if isinstance(domains, str) else domains)
        if not self.domains:
            raise InvalidInput("selector.domains is empty; name one domain of the pool at least")

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns the documents of these domains whose random number is largest.

        Raises:
            InvalidInput: a domain is not in the pool, or they hold less than the budget.
        """
        domains = np.array(documents_of(scores, "selector=dapt").domains)
        known = set(domains.tolist())
        for name in self.domains:
            if name not in known:
                raise InvalidInput(
                    f"selector.domains: the pool has no domain {name!r}; {near(name, known)}"
                )
        noise = uniform(scores.id_bits, draw_key(generator))
        inside = scores.selectable & np.isin(domains, self.domains)
        noise[~inside] = -np.inf
        costs = np.ones(len(domains), dtype=np.int64) if scores.costs is None else scores.costs
        left = int(costs[inside].sum())
        # Where the whole pool holds less than the budget, the pipeline has refused it already.
        if left < budget.amount <= costs[scores.selectable].sum():
            raise InvalidInput(
                f"selector.domains hold {left:,} {budget.unit}, less than budget={budget.amount:,}; "
                "lower the budget or name more domains"
            )
        return take(order(noise, scores.id_bits), replace(scores, values=noise), budget)


class TAPT(Selector):
    """Task-adaptive pre-training: the task's own texts without labels, each as often as any other.

    A budget above the number of texts repeats them, in a new random order each time; `repeated`
    counts repeats. The pool still trains the model's token head, so that losses before the warm-up
    agree with those of other cells.

    Formula:
        Every text once, then every text a second time, and so on until the budget is filled.

    Paper:
        Gururangan et al., ACL 2020 (arXiv 2004.10964), section 4.

    Deviations:
        The budget decides the number of passes, where the paper makes 100.

    Cost:
        One hash a text of the task; the pool is not read.
    """

    traits = Traits(stochastic=True, repeats=True, chooses_target=True, target_aware=False)

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns every text once, then every text a second time, until the budget is filled.

        Raises:
            InvalidInput: no text may be selected, or the texts have no tokens.
        """
        selectable = scores.selectable
        once = int(selectable.sum() if scores.costs is None else scores.costs[selectable].sum())
        if once < 1:
            raise InvalidInput(
                "the task has no text that may be chosen: all repeat evaluation texts; give others"
            )
        rounds = []
        for _ in range(-(-budget.amount // once)):
            drawn = order(uniform(scores.id_bits, draw_key(generator)), scores.id_bits)
            rounds.append(drawn[selectable[drawn]])
        choice = take_ranked(np.concatenate(rounds), scores, budget)
        repeated = len(choice.rows) - len(np.unique(choice.rows))
        return replace(choice, report={"repeated": repeated})
