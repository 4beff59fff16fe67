"""Asks the assumption check about pools of many kinds, and what a pool's shift costs a selection.

    python benchmarks/assumption.py --data DIR [--parts pools decoder mixture]

`pools`: MiniLM, whose pre-training was general English, on domains of the data folder, on the
standard library's source code and on message catalogues of other languages. `decoder`: a small
decoder that is pre-trained here on six general domains, so that what it has read is known and its
own head can be asked. `mixture`: a share s of a pool is replaced by source code; what a selection
from it brings a model that has read general English, beside what the check measures.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from shortlist.core import Corpus
from shortlist.data.readers import read
from shortlist.data.sources import LocalSource
from shortlist.diagnostics.assumption import kinds_of, reference_texts
from shortlist.featurizers.transformer import Static
from shortlist.models import checkpoint
from shortlist.models.tokens import tokenize
from shortlist.ot import CTransform, sinkhorn_divergence, solve
from shortlist.runtime import Runtime
from shortlist.stats.intervals import upper_tail

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("pools", "decoder", "mixture")
GENERAL = ("blogs", "books", "dialogue", "news", "reviews_movies", "wikipedia")
LANGUAGES = {"de": "German", "es": "Spanish", "fr": "French", "fi": "Finnish", "pl": "Polish"}
SIZE = 1_000  # documents a pool
ASKED = 250  # of these, by id
EPSILON = 0.05  # of the mean cost


def domains(data: Path) -> dict[str, list[str]]:
    """Returns the texts of each domain of the data folder, in the order of their ids."""
    source = LocalSource(str(data))
    found: dict[str, list[str]] = {}
    for name in source.pool_names(None):
        (file,) = source.pool_files(name, None).files["pool"]
        found[name] = read(file).corpus.unlabelled().texts
    return found


def source_code() -> list[str]:
    """Returns pieces of 600 characters of the standard library's modules, shuffled."""
    pieces: list[str] = []
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        pieces += [text[start : start + 600] for start in range(0, len(text) - 600, 600)]
    random.Random(0).shuffle(pieces)
    return pieces


def catalogues(folder: Path) -> dict[str, list[str]]:
    """Returns texts in other languages: the translated messages under `folder`, joined to some length."""
    found: dict[str, list[str]] = {}
    for code, language in LANGUAGES.items():
        texts = [""]
        for path in sorted(folder.rglob(f"{code}/LC_MESSAGES/*.mo")):
            for message in _messages(path):
                if len(message.split()) >= 5:
                    texts[-1] += f" {message}"
                if len(texts[-1]) > 300:
                    texts.append("")
        if len(texts) > 50:
            found[language] = [text for text in texts if text]
    return found


def _messages(path: Path) -> list[str]:
    raw = path.read_bytes()
    order = "<" if raw[:4] == b"\xde\x12\x04\x95" else ">"
    count, _, table = struct.unpack(f"{order}3I", raw[8:20])
    spans = [struct.unpack_from(f"{order}2I", raw, table + 8 * row) for row in range(count)]
    parts = [raw[start : start + length] for length, start in spans]
    encoding = "utf-8" if parts and b"utf-8" in parts[0].lower() else "latin-1"
    return [
        " ".join(part.split(b"\0")[0].decode(encoding, "replace").split()) for part in parts[1:]
    ]


def asked(texts: list[str], home: Path, data: Path, *typed: str) -> dict[str, Any]:
    """Returns what the check says of a pool of these texts."""
    home.mkdir(parents=True, exist_ok=True)
    file = home / "pool.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[:SIZE]))
    command = [
        sys.executable, "run.py", "pool=files", f"pool.paths=[{file}]", "until=select", "budget=10",
        "selector=random", "check.assumption=true", f"check.documents={ASKED}",
        "task=ag_news", f"paths.data={data}", *typed,
        *(f"paths.{name}={home / name}" for name in ("results", "runs", "cache")),
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (record,) = (home / "results").rglob("*.json")
    return json.loads(record.read_text())["selection"]["assumption"]


def row_of(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Returns the numbers of a check as one row."""
    row: dict[str, Any] = {"pool": name, "verdict": found["verdict"], "p": found["p"]}
    for measure in ("tokens_per_word", "loss"):
        if measure in found:
            row[measure] = found[measure]["pool"]
            row[f"{measure}, reference"] = (
                f"{found[measure]['lowest']:.2f} to {found[measure]['highest']:.2f}"
            )
    divergence = found["divergence"]
    return row | {
        "divergence from reference": divergence["pool_reference"],
        "of a kind": divergence["kind_reference"],
        "from target": divergence["pool_target"],
    }


def mixed(kinds: dict[str, list[str]], names: tuple[str, ...], size: int) -> list[str]:
    """Returns `size` documents, as many of each domain."""
    each = -(-size // len(names))
    return [text for name in names for text in kinds[name][:each]][:size]


def pools(data: Path, folder: Path, home: Path, *typed: str) -> list[dict[str, Any]]:
    """Returns what the check says of each kind of pool."""
    kinds = domains(data)
    asks = {"all domains": mixed(kinds, tuple(kinds), SIZE)} | kinds
    asks |= {"source code": source_code()} | catalogues(folder)
    return [
        row_of(name, asked(texts, home / str(number), data, *typed))
        for number, (name, texts) in enumerate(asks.items())
    ]


def decoder(data: Path, folder: Path, home: Path) -> list[dict[str, Any]]:
    """Returns what the check says where the model brings its head: a decoder pre-trained here."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers.models import BPE
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    kinds = domains(data)
    texts = [text for name in GENERAL for text in kinds[name][SIZE : SIZE + 2_500]]
    end = "<|endoftext|>"
    words = Tokenizer(BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    words.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=8_000,
            special_tokens=[end],
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    start = home / "start"
    start.mkdir(parents=True, exist_ok=True)
    fast: Any = PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token=end, bos_token=end, pad_token=end
    )
    fast.save_pretrained(start)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=8_000, n_positions=256, n_embd=256, n_layer=4, n_head=4,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(start)
    from shortlist.trainers.language_model import CausalLM

    trainer = CausalLM(
        block=128, epochs=2, learning_rate=2e-3, batch_size=16, max_length=128,
        weight_decay=0.01, warmup_fraction=0.05, clip=1.0, precision="32", betas=(0.9, 0.999), eps=1e-8,
    )  # fmt: skip
    trained = home / "trained"
    trained.mkdir(exist_ok=True)
    print(trainer.train_on(start, Corpus.build(texts).unlabelled(), trained, 0, Runtime("cpu")))
    return pools(
        data, folder, home, "model=local", f"model.path={trained}", "trainer@warmup=clm",
        "warmup.max_length=128",
    )  # fmt: skip


def vectors(texts: list[str]) -> np.ndarray[Any, Any]:
    """Returns MiniLM's static vectors."""
    model = instantiate(OmegaConf.load(ROOT / "conf/model/minilm.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        quiet = Runtime(accelerator="cpu", progress=False)
        values, _ = Static(model, 256, True).compute(Corpus.build(texts), Path(folder), quiet)
        return np.array(values)


def tokens_a_word(texts: list[str]) -> dict[str, float]:
    """Returns the number that decides for MiniLM, and its chance among the reference's kinds."""
    words = checkpoint.tokenizer(
        instantiate(OmegaConf.load(ROOT / "conf/model/minilm.yaml")).directory()
    )

    def ratio(some: list[str]) -> float:
        lengths = tokenize(words, some, None, None).lengths - 2
        return float(lengths.sum() / sum(len(text.split()) for text in some))

    reference = reference_texts(None)
    kinds = kinds_of(reference)
    each = [
        ratio([text for text, one in zip(reference.texts, kinds, strict=True) if one == kind])
        for kind in np.unique(kinds)
    ]
    pool = ratio(texts)
    return {"pool": pool, "p": upper_tail(float(np.log(pool)), np.log(each))}


def cost(pool: torch.Tensor, target: torch.Tensor, masses: torch.Tensor, epsilon: float) -> float:
    """Returns the regularised transport cost of the weighted pool to the target."""
    return solve(
        pool, target, epsilon=epsilon, relative=False, b=masses.double(), tolerance=1e-4
    ).dual


def mixture(data: Path, task: str) -> list[dict[str, Any]]:
    """Returns, by the share of shifted documents, the gap measured and the benefit of a selection.

    Benefit: by how much the transport cost to the target falls when a tenth of what the model has
    read (general English) is replaced by 400 documents that were chosen from the pool; GOT-D's
    less soft-kNN's is what its correction for what was read brings. Predicted is GOT-D's to first
    order: the share times (mean potential of what was read less that of the selection).
    """
    kinds, share, size, chosen = domains(data), 0.1, 4_000, 400
    (file,) = LocalSource(str(data)).task_files(task, None).files["train"]
    target = torch.from_numpy(vectors(read(file).corpus.unlabelled().texts[:400]))
    each = {name: texts[:2_000] for name, texts in kinds.items() if name in GENERAL}
    general = [text for texts in each.values() for text in texts]
    order = np.random.default_rng(0).permutation(len(general))
    general = [general[row] for row in order]
    read_before = torch.from_numpy(vectors(general[:size]))
    inside = torch.from_numpy(vectors(general[size : 2 * size]))
    pieces = source_code()[:size]
    code = torch.from_numpy(vectors(pieces))
    half = torch.from_numpy(vectors(general[2 * size : 3 * size]))
    truth = solve(read_before, target, epsilon=EPSILON, tolerance=1e-4)
    level = truth.epsilon
    before = cost(read_before, target, torch.full((size,), 1 / size), level)
    potential = CTransform(target, truth.f, epsilon=level, cost="sqeuclidean")
    rows = []
    for shifted in (0.0, 0.25, 0.5, 0.75, 0.9, 1.0):
        cut = round(shifted * size)
        asks = tokens_a_word(general[size : 2 * size - cut] + pieces[:cut])
        pool = torch.cat([inside[: size - cut], code[:cut]])
        found = solve(pool, target, epsilon=level, relative=False, tolerance=1e-4)
        knn = CTransform(target, torch.zeros(len(target)), epsilon=level, cost="sqeuclidean")
        picks = {
            "gotd": found.score.argsort(descending=True)[:chosen],
            "soft_knn": (-knn(pool)).argsort(descending=True)[:chosen],
            "random": torch.from_numpy(np.random.default_rng(1).choice(size, chosen, False)),
        }
        gains, first = {}, {}
        for name, rows_chosen in picks.items():
            both = torch.cat([read_before, pool[rows_chosen]])
            masses = torch.cat(
                [torch.full((size,), (1 - share) / size), torch.full((chosen,), share / chosen)]
            )
            gains[name] = before - cost(both, target, masses, level)
            first[name] = share * float(
                potential(read_before).mean() - potential(pool[rows_chosen]).mean()
            )
        rows.append(
            {
                "shifted": shifted,
                "tokens a word": asks["pool"],
                "p": asks["p"],
                "divergence from what was read": max(
                    0.0, sinkhorn_divergence(pool, read_before, epsilon=EPSILON).value
                ),
                "of a like sample": max(
                    0.0, sinkhorn_divergence(half, read_before, epsilon=EPSILON).value
                ),
                **{f"benefit {name}": gain for name, gain in gains.items()},
                "predicted": first["gotd"],
                "gotd less soft_knn": gains["gotd"] - gains["soft_knn"],
                "code chosen by gotd": float((picks["gotd"] >= size - cut).double().mean()),
            }
        )
    return rows


TITLES = {
    "pools": "MiniLM: pools of many kinds (tokens a word decide; it has no head of its own)",
    "decoder": "A decoder pre-trained here on six general domains (tokens a word and its loss decide)",
    "mixture": "A pool of which a share is source code: what a selection from it brings",
}


def main() -> None:
    """Runs the parts asked for and puts what they gave beside what was there."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with pools/ and tasks/")
    parser.add_argument(
        "--catalogues", type=Path, default=Path("/usr/share"), help="where *.mo lie"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--task", default="ag_news", help="whose training texts are the target")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "assumption.json"
    report: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    for part in given.parts:
        with tempfile.TemporaryDirectory(prefix="assumption_") as folder:
            match part:
                case "pools":
                    report[part] = pools(given.data, given.catalogues, Path(folder))
                case "decoder":
                    report[part] = decoder(given.data, given.catalogues, Path(folder))
                case _:
                    report[part] = mixture(given.data, given.task)
        kept.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")
    lines = ["# The assumption check", "", "Written by `benchmarks/assumption.py`; do not edit."]
    for part in [name for name in PARTS if name in report]:
        names = list(report[part][0])
        lines += ["", f"## {TITLES[part]}", ""]
        lines += ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
        for row in report[part]:
            cells = [f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()]
            lines.append("| " + " | ".join(cells) + " |")
    (given.out / "assumption.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
