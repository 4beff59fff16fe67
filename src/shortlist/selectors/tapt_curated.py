"""Curated task-adaptive pre-training (kNN-TAPT), Gururangan et al., ACL 2020, arXiv 2004.10964."""

from __future__ import annotations

from shortlist.selectors.nearest import RoundRobin


class TAPTCurated(RoundRobin):
    """The nearest documents of every target text, round after round (section 5.2, kNN-TAPT).

    The paper takes the k = 50, 150 or 500 nearest of each task text; a document that several texts
    want counts once. Here the rounds are put one after the other, so that any budget is a prefix:
    k rounds are the paper's selection. The record says how many documents were wanted more than
    once. Deviations: cosine of the featurizer's vectors in place of VAMPIRE's and FAISS; exact.
    """
