"""Target texts hidden in the pool, slightly altered: target-aware methods dig them out, others do not."""

from __future__ import annotations

import random
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from shortlist.assembly import make
from shortlist.core import Budget, Corpus
from shortlist.runtime import Runtime
from shortlist.selectors.base import Scored
from shortlist.store.formats import load_features, save_features
from shortlist.trainers.base import seeded

NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "conf/selector").glob("*.yaml"))
MACHINE = Runtime(accelerator="cpu", progress=False)
PLANTED = 12


def altered(text: str, rng: random.Random) -> str:
    """The text with one word replaced by a common one, and its first two words exchanged."""
    words = text.split()
    words[0], words[1] = words[1], words[0]
    words[rng.randrange(2, len(words))] = rng.choice(toy.COMMON)
    return " ".join(words)


@pytest.fixture(scope="module")
def hidden() -> Corpus:
    """Ninety-two documents: twelve altered target texts among twenty of each of four other topics."""
    rng = random.Random(0)
    texts = [altered(text, rng) for text in toy.sentences("sailing", PLANTED)]
    topics = [topic for topic in toy.TOPICS if topic != "sailing"]
    others = [text for topic in topics for text in toy.sentences(topic, 20)]
    domains = ["planted"] * PLANTED + [topic for topic in topics for _ in range(20)]
    return Corpus.build([*texts, *others], domains).canonical()


@pytest.mark.parametrize("name", NAMES)
def test_altered_target_texts_come_out_on_top_exactly_if_a_selector_looks_at_the_target(
    name: str, composed: Any, tiny_model: Path, target: Corpus, hidden: Corpus, tmp_path: Path
) -> None:
    assert not set(target.texts) & set(hidden.texts)
    config = deepcopy(composed(f"selector={name}", "model=local", f"model.path={tiny_model}"))
    members = config.selector.get("members", {}).values()
    for part in (config.featurizer, *(member.featurizer for member in members)):
        for setting, value in {"max_length": 32, "precision": "32"}.items():
            if setting in part:
                part[setting] = value
    selector, featurizer = make(config, "selector"), make(config, "featurizer")
    reason = selector.applicable("classification")
    if reason is not None:
        pytest.skip(reason)

    def vectors(featurizer: Any, corpus: Corpus) -> Any:
        at = Path(tempfile.mkdtemp(dir=tmp_path))
        save_features(at, corpus.fingerprint, featurizer.compute(corpus, at, MACHINE)[0])
        return load_features(at).of(corpus)

    columns, pools = {}, {}
    alone = {"": (selector, featurizer)}
    parts = {key: (part.selector, part.featurizer) for key, part in selector.members.items()}
    for key, (method, made) in (parts or alone).items():
        pools[key] = vectors(made, hidden)
        method.fit(vectors(made, target), pools[key])
        columns[key] = method.score_all(pools[key], MACHINE)
    scores = selector.combine(columns)
    scored = Scored(scores, hidden.id_words(), None, hidden, columns, pools)
    planted = np.array([domain == "planted" for domain in hidden.domains])
    found = []
    for seed in range(20 if selector.stochastic else 1):
        rows = selector.select(scored, Budget(PLANTED), seeded(seed, "selection")).rows
        found.append(planted[rows].mean())
    share = float(np.mean(found))
    print(f"{name}: {share:.0%} planted")
    # Thirteen per cent of the pool are planted. A method that draws is averaged over twenty draws;
    # of one that does not, five of twelve are planted by chance once in a hundred.
    assert (share >= 3 * planted.mean()) == selector.target_aware, f"{share:.0%} are planted"
