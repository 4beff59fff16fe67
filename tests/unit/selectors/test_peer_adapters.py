"""Each adapter against a stand-in checkout that checks the published file formats and answers in them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from shortlist.core import Corpus, Features
from shortlist.pipeline.compose import build_component
from shortlist.selectors.base import UNRANKED

RNG = np.random.default_rng(0)
TARGET_TEXTS = [f"anchor boat {number}" for number in range(3)]
POOL_TEXTS = [*TARGET_TEXTS, *(f"bread flour {number}" for number in range(27))]


def features(texts: list[str]) -> Features:
    corpus = Corpus.build(texts)
    near = np.array([[3.0] * 4 if "boat" in text else [0.0] * 4 for text in texts])
    values = (near + RNG.normal(size=(len(texts), 4))).astype(np.float32)
    return Features(values, corpus.fingerprint, "key", corpus)


TARGET, POOL = features(TARGET_TEXTS), features(POOL_TEXTS)


def fitted(composed: Any, name: str, checkout: Path, **arguments: Any) -> Any:
    """The peer of the YAML, run with a stand-in for its authors' code."""
    return with_facts(composed, name, checkout, **arguments)[0]


def with_facts(composed: Any, name: str, checkout: Path, **arguments: Any) -> Any:
    """The same, and the facts of its fit."""
    config = OmegaConf.create(
        OmegaConf.to_container(composed(f"selector=peer_{name}"), resolve=False)
    )
    config.selector.python, config.selector.checkout = sys.executable, str(checkout)
    config.selector.arguments.update(arguments)
    selector = build_component(config, "selector")
    assert selector.applicable("classification") is None
    return selector, selector.fit(TARGET, POOL)


def write(checkout: Path, name: str, code: str) -> None:
    path = checkout / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding="utf-8")


def test_tsds_reads_its_config_and_its_two_arrays(composed: Any, tmp_path: Path) -> None:
    write(tmp_path, "faiss_helper.py", "HERE = 1\n")
    write(
        tmp_path,
        "tsds.py",
        """
import json, numpy as np
from faiss_helper import HERE
config = json.load(open("config.yaml"))
known = {"query_embedding_path", "candidate_embedding_path", "output_folder", "sample_size",
         "alpha", "C", "sigma", "max_K", "kde_K"}
assert set(config) == known, config
query = np.load(config["query_embedding_path"])
pool = np.load(config["candidate_embedding_path"])
assert query.shape == (3, 4) and pool.shape == (30, 4) and pool.dtype == np.float32
chance = np.zeros(30)
chance[((query[:, None] - pool) ** 2).sum(2).argmin(1)] += 1
drawn = np.random.multinomial(config["sample_size"], chance / chance.sum())
import os
os.makedirs(config["output_folder"], exist_ok=True)
np.save(config["output_folder"] + "/selected_candidate_indices.npy", np.repeat(np.arange(30), drawn))
""",
    )
    selector, facts = with_facts(composed, "tsds", tmp_path, sample_size=50)
    scores = selector.pool_scores.numpy()
    assert (scores > 0).sum() <= 3 and scores[scores > UNRANKED].sum() == 50
    assert facts["drawn"] == 50
    again = fitted(composed, "tsds", tmp_path, sample_size=50).pool_scores.numpy()
    assert (again == scores).all()  # their draw has no seed of its own


@pytest.mark.parametrize("rank", ["round_robin", "best"])
def test_rds_plus_runs_on_chat_files_without_the_hub_and_reads_the_cosines(
    composed: Any, tmp_path: Path, rank: str
) -> None:
    write(
        tmp_path,
        "datasets.py",
        """
class Dataset(list):
    @classmethod
    def from_dict(cls, columns):
        return cls(columns["prompt"])
    def shuffle(self, seed):
        return self
def load_dataset(path, data_files=None):
    assert path == "json", f"asked the hub for {path}"
    return {"train": Dataset(open(data_files))}
""",
    )
    write(
        tmp_path,
        "minimal_multitask/data.py",
        """
from datasets import load_dataset
class MBPPPlus:
    dataset = load_dataset("evalplus/mbppplus")["test"]
    dataset.shuffle(seed=42)
""",
    )
    write(tmp_path, "minimal_multitask/__init__.py", "")
    write(
        tmp_path,
        "minimal_multitask/compute_influence_cosinesim.py",
        """
import argparse, json, os, pickle
from datasets import load_dataset
from minimal_multitask.data import MBPPPlus
parser = argparse.ArgumentParser()
for name in ("model_name", "save_dir", "train_dataset", "eval_dataset", "index_path", "dtype",
             "pooling"):
    parser.add_argument("--" + name)
parser.add_argument("--batch_size", type=int)
args = parser.parse_args()
assert args.pooling == "weighted_mean" and args.batch_size == 1 and os.environ["HF_HUB_OFFLINE"]
def words(path):
    rows = [json.loads(line) for line in load_dataset("json", data_files=path)["train"]]
    assert all([m["role"] for m in row["messages"]] == ["user"] for row in rows)
    return [set(row["messages"][0]["content"].split()) for row in rows]
pool = words(args.train_dataset)
found = {i: {j: len(q & d) / 3 for j, d in enumerate(pool)} for i, q in enumerate(words(args.eval_dataset))}
os.makedirs(args.save_dir, exist_ok=True)
name = os.path.basename(args.eval_dataset)
with open(os.path.join(args.save_dir, f"{name}_cossim.pkl"), "wb") as file:
    pickle.dump(found, file)
""",
    )
    selector = fitted(composed, "rds_plus", tmp_path, model_name="/model", rank=rank)
    scores = selector.pool_scores.tolist()
    if rank == "best":
        assert scores[:3] == [1.0] * 3 and max(scores[3:]) <= 1 / 3
        return
    assert sorted(scores) == [-place for place in range(29, -1, -1)]
    # Each target's own copy shares all three words with it: the first round.
    assert set(np.argsort(scores)[::-1][:3].tolist()) == {0, 1, 2}


@pytest.mark.slow  # two processes that import torch
def test_less_lays_down_normalised_gradients_by_checkpoint(composed: Any, tmp_path: Path) -> None:
    write(
        tmp_path,
        "less/data_selection/matching.py",
        """
import argparse, os, torch
parser = argparse.ArgumentParser()
parser.add_argument("--gradient_path"); parser.add_argument("--validation_gradient_path")
parser.add_argument("--train_file_names", nargs="+"); parser.add_argument("--output_path")
parser.add_argument("--target_task_names", nargs="+")
parser.add_argument("--ckpts", type=int, nargs="+")
parser.add_argument("--checkpoint_weights", type=float, nargs="+")
args = parser.parse_args()
total = sum(args.checkpoint_weights)
for task in args.target_task_names:
    for name in args.train_file_names:
        score = 0
        for weight, ckpt in zip(args.checkpoint_weights, args.ckpts):
            train = torch.load(args.gradient_path.format(ckpt, name))
            valid = torch.load(args.validation_gradient_path.format(ckpt, task))
            assert train.shape == (30, 2) and len(valid) % {"mmlu": 57, "bbh": 27, "tydiqa": 9}[task] == 0
            assert torch.allclose(train.norm(dim=1), torch.ones(30), atol=1e-5)
            score += weight / total * train @ valid.T
        score = score.reshape(30, {"tydiqa": 9}[task], -1).mean(-1).max(-1)[0]
        os.makedirs(os.path.join(args.output_path, task))
        torch.save(score, os.path.join(args.output_path, task, f"{name}_influence_score.pt"))
""",
    )
    selector = fitted(composed, "less", tmp_path, checkpoint_weights=[3.0, 1.0])

    def unit(part: np.ndarray) -> np.ndarray:
        return part / np.linalg.norm(part, axis=1, keepdims=True)

    pool, target = np.asarray(POOL.values), np.asarray(TARGET.values)
    expected = sum(
        share * unit(pool[:, part]) @ unit(target[:, part]).mean(0)
        for share, part in ((0.75, slice(0, 2)), (0.25, slice(2, 4)))
    )
    np.testing.assert_allclose(selector.pool_scores.numpy(), expected, atol=1e-5)


@pytest.mark.slow  # a process that imports torch
def test_tarot_finds_its_store_and_its_settings(composed: Any, tmp_path: Path) -> None:
    write(tmp_path, "tarot/__init__.py", "")
    write(
        tmp_path,
        "tarot/wfd_estimator.py",
        """
import os, numpy as np, torch
class WFDEstimator:
    def __init__(self, model, task, candidate_set_size, target_set_size, save_dir, device, proj_dim,
                 use_half_precision):
        assert (candidate_set_size, target_set_size, proj_dim) == (30, 3, 4)
        self.save_dir = save_dir
    def get_wfd(self):
        (model,) = [d for d in os.listdir(self.save_dir) if os.path.isdir(os.path.join(self.save_dir, d))]
        read = lambda n: np.lib.format.open_memmap(f"{self.save_dir}/{model}/{n}_grads.mmap", mode="r+")
        candidates, targets = torch.tensor(read("candidate")), torch.tensor(read("target"))
        assert candidates.dtype == torch.float32
        return (candidates.float() @ targets.float().T).numpy(), candidates, targets
""",
    )
    write(
        tmp_path,
        "tarot/data_selector.py",
        """
import numpy as np
class DataSelector:
    def __init__(self, cfg):
        assert {"device", "selection_method", "selection_ratio", "k_fold_splits", "merge_target_data",
                "data_weighting"} <= set(cfg)
        self.ratio = cfg["selection_ratio"]
    def select_data(self, score, candidates, targets):
        assert score.shape == (30, 3)
        chosen = np.argsort(-score.max(1))[: int(self.ratio * 30)]
        return chosen, score.max(1)[chosen]
""",
    )
    selector, facts = with_facts(composed, "tarot", tmp_path, selection_ratio=0.2)
    scores = selector.pool_scores.numpy()
    assert (scores > UNRANKED).sum() == facts["recommended_budget"] == 6
    best = (np.asarray(POOL.values) @ np.asarray(TARGET.values).T).max(1)
    assert set(np.argsort(-scores)[:6].tolist()) == set(np.argsort(-best)[:6].tolist())
