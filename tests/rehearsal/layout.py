"""What the hub holds of each data set that an experiment names: file names, columns, splits.

Written from the data sets' cards and from public code that reads them, not from `conf`, which is
what is tested. Rows are made up. Where no public code names a file, the entry says so.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import toy

Row = Mapping[str, Any]
PARQUET = "refs/convert/parquet"


@dataclass(frozen=True)
class Repository:
    """A data set of the hub.

    Attributes:
        files: the rows of each file by its path, by branch.
        commit: the commit of `main` that a configuration may pin.
        splits: for the library `datasets`: patterns of files by split, by configuration.
    """

    files: Mapping[str, Mapping[str, Sequence[Row]]]
    commit: str = ""
    splits: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])

    def contents(self, branch: str) -> dict[str, bytes]:
        """Returns the bytes of the files of a branch."""
        found = {path: encoded(path, rows) for path, rows in self.files[branch].items()}
        found["README.md"] = self._card().encode()
        return found

    def _card(self) -> str:
        configs = [
            {"config_name": name, "data_files": [{"split": s, "path": p} for s, p in files.items()]}
            for name, files in self.splits.items()
        ]
        card = {"license": "other", **({"configs": configs} if configs else {})}
        return f"---\n{json.dumps(card)}\n---\nMade up for the rehearsal.\n"


def encoded(path: str, rows: Sequence[Row]) -> bytes:
    """Returns the rows in the format that the name of the file says."""
    if path.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), sink)
        return sink.getvalue()
    text = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    return gzip.compress(text, mtime=0) if path.endswith(".gz") else text


def commit_of(name: str, branch: str, repository: Repository | None = None) -> str:
    """Returns the commit of a branch."""
    if branch == "main" and repository is not None and repository.commit:
        return repository.commit
    return hashlib.sha1(f"{name} {branch}".encode()).hexdigest()


def prose(topic: str, n: int, characters: int, seed: str) -> list[str]:
    """Returns n texts of about so many characters, half of their words compounds of two: sentences of
    few words would repeat each other and be left out as leaks.
    """
    rng = random.Random(f"{topic} {characters} {seed}")
    words = [word for of_topic in toy.TOPICS.values() for word in of_topic.split()]

    def sentence() -> str:
        plain = toy.sentence(rng, topic).split()
        return " ".join(word + rng.choice(words) * rng.randint(0, 1) for word in plain) + "."

    def text() -> str:
        parts = [sentence()]
        while sum(map(len, parts)) < characters:
            parts.append(sentence())
        return " ".join(parts)

    return [text() for _ in range(n)]


def sharded(pattern: str, shards: int, rows: Sequence[Row]) -> dict[str, Sequence[Row]]:
    """Returns files by names like `train-00000-of-00002.parquet`; the rows are dealt to the first
    and the last, which stand for all.
    """
    ends = sorted({0, shards - 1})
    return {pattern.format(number, shards): rows[at :: len(ends)] for at, number in enumerate(ends)}


def documents(
    name: str, topic: str, n: int, size: int, row: Callable[[str, int], Row]
) -> list[Row]:
    return [row(text, number) for number, text in enumerate(prose(topic, n, size, name))]


def labelled(name: str, n: int, labels: Sequence[Any], row: Callable[[str, Any], Row]) -> list[Row]:
    """Returns n rows whose labels take turns; the label decides the topic."""
    topics = list(toy.TOPICS)
    rng = random.Random(name)
    turns = itertools.islice(itertools.cycle(range(len(labels))), n)
    return [row(toy.sentence(rng, topics[turn % 5], 10, 20), labels[turn]) for turn in turns]


def jsonl_task(stem: str, labels: Sequence[str], topics: str) -> dict[str, Sequence[Row]]:
    """Returns the three files of a task of "Don't stop pretraining" as zapsdcn publishes them."""
    return {
        f"{stem}{part}.jsonl": labelled(
            f"{topics} {part}",
            n,
            labels,
            lambda text, label: {"text": text, "label": label, "metadata": {}},
        )
        for part, n in (("train", 40), ("dev", 20), ("test", 20))
    }


def glue(
    columns: Sequence[str], labels: Sequence[Any], tests: str = "validation"
) -> dict[str, list[Row]]:
    """Returns the splits of one task of GLUE."""
    rng = random.Random(str(columns))

    def row(text: str, label: Any) -> Row:
        others = [toy.sentence(rng, rng.choice(list(toy.TOPICS))) for _ in columns[1:]]
        return {**dict(zip(columns, [text, *others], strict=True)), "label": label, "idx": 0}

    unlabelled = labelled("test", 5, [-1], row)
    return {
        "train": labelled("train", 60, labels, row),
        tests: labelled("validation", 20, labels, row),
        tests.replace("validation", "test"): unlabelled,
    }


def parquet_of(folder: str, splits: Mapping[str, Sequence[Row]]) -> dict[str, Sequence[Row]]:
    return {f"{folder}/{split}-00000-of-00001.parquet": rows for split, rows in splits.items()}


def review(text: str, number: int) -> Row:
    return {"rating": 5.0, "title": "made up", "text": text, "images": [], "asin": f"B{number}",
            "parent_asin": f"B{number}", "user_id": "A", "timestamp": 1588615855070 + number,
            "helpful_vote": 0, "verified_purchase": True}  # fmt: skip


def toxicity_prompt(number: int) -> Row:
    toxicity = (0.05, 0.7, 0.2, 0.95)[number % 4]
    texts = prose("sailing", 2, 50, f"prompt {number}")

    def half(score: float | None) -> Row:
        names = ("severe_toxicity", "profanity", "sexually_explicit", "identity_attack", "flirtation",
                 "threat", "insult")  # fmt: skip
        return {"text": texts.pop(), "toxicity": score, **dict.fromkeys(names, score)}

    # Perspective refused some halves: their score is null.
    return {"filename": f"{number:07d}-made-up.txt", "begin": 0, "end": 80, "challenging": False,
            "prompt": half(None if number == 7 else toxicity),
            "continuation": half(toxicity / 2)}  # fmt: skip


GLUE = {
    "cola": glue(["sentence"], [0, 1]),
    "mnli": {
        **glue(["premise", "hypothesis"], [0, 1, 2], "validation_matched"),
        "validation_mismatched": glue(["premise", "hypothesis"], [0, 1, 2])["validation"],
    },
    "mrpc": glue(["sentence1", "sentence2"], [0, 1]),
    "qnli": glue(["question", "sentence"], [0, 1]),
    "qqp": glue(["question1", "question2"], [0, 1]),
    "rte": glue(["sentence1", "sentence2"], [0, 1]),
    "sst2": glue(["sentence"], [0, 1]),
    "stsb": glue(["sentence1", "sentence2"], [0.0, 1.25, 3.0, 5.0]),
}
WEB = documents("openwebtext", "stars", 60, 700, lambda text, n: {"text": text})
SPLITS = ("train", "validation", "test")


def summarization(name: str, topic: str, shards: int) -> dict[str, Sequence[Row]]:
    rows = documents(
        name, topic, 24, 2500, lambda text, n: {"article": text, "abstract": text[:300]}
    )
    files = sharded("document/train-{:05d}-of-{:05d}.parquet", shards, rows)
    return files | {f"document/{split}-00000-of-00001.parquet": rows[:2] for split in SPLITS[1:]}


REPOSITORIES: dict[str, Repository] = {
    # Domains of the pool.
    "McAuley-Lab/Amazon-Reviews-2023": Repository(
        {
            "main": {
                **{
                    f"raw/review_categories/{name}.jsonl": documents(
                        name, "baking", 20, 300, review
                    )
                    for name in ("All_Beauty", "Gift_Cards", "Unknown")
                },
                "raw/meta_categories/meta_All_Beauty.jsonl": [
                    {"main_category": "All Beauty", "title": "x"}
                ],
            },
        }
    ),
    "ccdv/pubmed-summarization": Repository({"main": summarization("pubmed", "gardens", 5)}),
    "ccdv/arxiv-summarization": Repository({"main": summarization("arxiv", "stars", 15)}),
    # Over 5 GB, so that the branch of the converter holds a part, and says so in the name.
    "Skylion007/openwebtext": Repository(
        {
            "main": {"plain_text/train-00000-of-00080.parquet": WEB[:4]},
            PARQUET: {f"plain_text/partial-train/{n:04d}.parquet": WEB[n::2] for n in range(2)},
        }
    ),
    "allenai/c4": Repository(
        {
            "main": {
                **{
                    f"realnewslike/c4-train.{n:05d}-of-00512.json.gz": documents(
                        f"c4 {n}",
                        "music",
                        20,
                        900,
                        lambda text, n: {
                            "text": text,
                            "timestamp": "2019-04-25T12:57:54Z",
                            "url": f"http://x/{n}",
                        },
                    )
                    for n in (0, 511)
                },
                "realnewslike/c4-validation.00000-of-00001.json.gz": [
                    {"text": "x", "timestamp": "", "url": ""}
                ],
            },
        }
    ),
    "wikimedia/wikipedia": Repository(
        {
            "main": sharded(
                "20231101.en/train-{:05d}-of-{:05d}.parquet",
                41,
                documents(
                    "wiki",
                    "sailing",
                    30,
                    1500,
                    lambda text, n: {
                        "id": str(n),
                        "url": f"https://x/{n}",
                        "title": "t",
                        "text": text,
                    },
                ),
            ),
        }
    ),
    "lucadiliello/bookcorpusopen": Repository(
        {
            "main": sharded(
                "data/train-{:05d}-of-{:05d}.parquet",
                14,
                documents(
                    "books",
                    "gardens",
                    12,
                    5000,
                    lambda text, n: {"title": f"{n}.epub.txt", "text": text},
                ),
            ),
        }
    ),
    # Tasks.
    "zapsdcn/chemprot": Repository(
        {"main": jsonl_task("chemprot_", ["INHIBITOR", "ACTIVATOR", "UPREGULATOR"], "c")}
    ),
    # Of the next four public code names the repository and the columns alone: file names as conf has them.
    "zapsdcn/citation_intent": Repository(
        {
            "main": jsonl_task("citation_intent_", ["Background", "Uses", "Extends"], "ci"),
        }
    ),
    "zapsdcn/hyperpartisan_news": Repository(
        {"main": jsonl_task("hyperpartisan_news_", ["true", "false"], "h")}
    ),
    "zapsdcn/rct-20k": Repository(
        {"main": jsonl_task("", ["METHODS", "RESULTS", "BACKGROUND"], "r")}
    ),
    "zapsdcn/sciie": Repository(
        {
            "main": {},
            PARQUET: {
                f"default/{split}/0000.parquet": labelled(
                    f"sciie {split}",
                    40,
                    ["USED-FOR", "FEATURE-OF", "COMPARE"],
                    lambda text, label: {"text": text, "label": label, "metadata": ""},
                )
                for split in SPLITS
            },
        }
    ),
    "vannacute/AmazonReviewHelpfulness": Repository(
        {
            "main": {},
            PARQUET: {
                f"default/{split}/0000.parquet": labelled(
                    f"helpful {split}",
                    40,
                    ["helpful", "unhelpful"],
                    lambda text, label: {"text": text, "label": label},
                )
                for split in SPLITS
            },
        }
    ),
    "fancyzhx/ag_news": Repository(
        {
            "main": parquet_of(
                "data",
                {
                    "train": labelled(
                        "ag", 80, [0, 1, 2, 3], lambda text, label: {"text": text, "label": label}
                    ),
                    "test": labelled(
                        "ag test",
                        24,
                        [0, 1, 2, 3],
                        lambda text, label: {"text": text, "label": label},
                    ),
                },
            )
        },
        "eb185aade064a813bc0b7f42de02595523103ca4",
    ),
    "stanfordnlp/imdb": Repository(
        {
            "main": parquet_of(
                "plain_text",
                {
                    "train": labelled(
                        "imdb", 60, [0, 1], lambda text, label: {"text": text, "label": label}
                    ),
                    "test": labelled(
                        "imdb test", 20, [0, 1], lambda text, label: {"text": text, "label": label}
                    ),
                    "unsupervised": labelled(
                        "imdb u", 20, [-1], lambda text, label: {"text": text, "label": label}
                    ),
                },
            )
        }
    ),
    "nyu-mll/glue": Repository(
        {
            "main": dict(
                itertools.chain.from_iterable(
                    parquet_of(name, splits).items() for name, splits in GLUE.items()
                )
            )
        },
        "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c",
    ),
    "google/boolq": Repository(
        {
            "main": parquet_of(
                "data",
                {
                    split: labelled(
                        f"boolq {split}",
                        n,
                        [True, False],
                        lambda text, answer: {
                            "question": text[:40],
                            "answer": answer,
                            "passage": text,
                        },
                    )
                    for split, n in (("train", 40), ("validation", 20))
                },
            )
        },
        "35b264d03638db9f4ce671b711558bf7ff0f80d5",
    ),
    "allenai/real-toxicity-prompts": Repository(
        {"main": {"prompts.jsonl": [*map(toxicity_prompt, range(160))]}}
    ),
}


def harness(name: str, configuration: str, files: Mapping[str, Sequence[Row]]) -> None:
    """Adds a data set that lm-eval reads by `datasets`: one Parquet file a split."""
    known = REPOSITORIES.get(name, Repository({"main": {}}))
    paths = {split: f"{configuration}/{split}-00000-of-00001.parquet" for split in files}
    rows = {paths[split]: rows for split, rows in files.items()}
    REPOSITORIES[name] = Repository(
        {"main": {**known.files["main"], **rows}},
        known.commit,
        {**known.splits, configuration: paths},
    )


def numbered(n: int, make: Callable[[int], Row]) -> list[Row]:
    return [make(number) for number in range(n)]


def _texts(topic: str, n: int = 8) -> Iterable[str]:
    return toy.sentences(topic, n)


_SEA, _PAN = list(_texts("sailing")), list(_texts("baking"))
harness(
    "facebook/anli",
    "plain_text",
    {
        f"{split}_r{at}": numbered(
            6,
            lambda n: {
                "uid": str(n),
                "premise": _SEA[n],
                "hypothesis": _PAN[n],
                "label": n % 3,
                "reason": "",
            },
        )
        for at in (1, 2, 3)
        for split in ("train", "dev", "test")
    },
)
harness(
    "aps/super_glue",
    "boolq",
    {
        split: numbered(
            6,
            lambda n: {
                "question": _SEA[n][:30],
                "passage": _PAN[n],
                "idx": n,
                "label": n % 2,
            },
        )
        for split in SPLITS
    },
)
harness(
    "aps/super_glue",
    "wic",
    {
        split: numbered(
            6,
            lambda n: {
                "word": "the",
                "sentence1": _SEA[n],
                "sentence2": _PAN[n],
                "start1": 0,
                "start2": 0,
                "end1": 3,
                "end2": 3,
                "idx": n,
                "label": n % 2,
            },
        )
        for split in SPLITS
    },
)
harness(
    "Rowan/hellaswag",
    "default",
    {
        split: numbered(
            6,
            lambda n: {
                "ind": n,
                "activity_label": "Sailing",
                "ctx_a": _SEA[n],
                "ctx_b": "then",
                "ctx": _SEA[n],
                "endings": _PAN[:4],
                "source_id": "x",
                "split": "any",
                "split_type": "indomain",
                "label": str(n % 4),
            },
        )
        for split in SPLITS
    },
)
harness("EleutherAI/lambada_openai", "default", {"test": numbered(6, lambda n: {"text": _SEA[n]})})
harness(
    "baber/piqa",
    "default",
    {
        split: numbered(
            6,
            lambda n: {
                "goal": _SEA[n],
                "sol1": _PAN[n],
                "sol2": _PAN[n - 1],
                "label": n % 2,
            },
        )
        for split in SPLITS
    },
)
harness(
    "EleutherAI/race",
    "high",
    {
        "test": numbered(
            4,
            lambda n: {
                "article": _SEA[n],
                "problems": str(
                    [
                        {"question": "What is it?", "answer": "ABCD"[n], "options": _PAN[:4]},
                        {"question": "It is  _  .", "answer": "A", "options": _PAN[:4]},
                    ]
                ),
            },
        )
    },
)
harness(
    "allenai/winogrande",
    "winogrande_xl",
    {
        split: numbered(
            6,
            lambda n: {
                "sentence": f"the boat met the whale because _ was {_PAN[n].split()[0]}",
                "option1": "boat",
                "option2": "whale",
                "answer": str(n % 2 + 1),
            },
        )
        for split in SPLITS
    },
)
