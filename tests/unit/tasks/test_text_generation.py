"""Text generation: the loss is that of the response alone, prompts are what the writer continues."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy

from shortlist.core import Corpus
from shortlist.data.readers import silent
from shortlist.data.sources import LocalSource
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.heads.base import LossOptions
from shortlist.models.heads.responses import Responses
from shortlist.models.likelihood import IGNORED
from shortlist.runtime import Runtime
from shortlist.tasks.text_generation import TextGeneration
from shortlist.trainers.adapters import Lora
from shortlist.trainers.classify import Classifier, Validation

MACHINE = Runtime(accelerator="cpu", progress=False)
CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
CHAT += "{% if add_generation_prompt %}<a>{% endif %}"
TALK = [
    {"role": "system", "content": "be short"},
    {"role": "user", "content": "a ship?"},
    {"role": "assistant", "content": "Fram"},
]


def made(folder: Path, rows: list[dict[str, Any]], **changed: Any) -> TextGeneration:
    settings: dict[str, Any] = {
        "name": "gen", "text": "prompt", "text_b": None, "label": "response", "domain": None,
        "mass": None, "numeric": False, "metrics": None, "primary": None, "holdout": 0.1,
        "validation_share": 0.1, "test_share": 0.1, "seed": 0, "max_train": None, "positive": None,
        "template": "{prompt}\n", "chat": None, "answer_tokens": 4,
    }  # fmt: skip
    for split in ("train", "validation", "test"):
        settings[split] = str(toy.write_jsonl(folder / f"{split}.jsonl", rows))
    return TextGeneration(**{**settings, **changed})


def corpus_of(pairs: dict[str, str]) -> Corpus:
    labels = [
        json.dumps({"messages": [{"role": "user", "content": prompt}], "response": response})
        for prompt, response in pairs.items()
    ]
    return Corpus.build(list(pairs), labels=labels)


@pytest.fixture(params=["tiny_gpt2", "tiny_llama"])
def decoder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def opened(directory: Path, answer_tokens: int) -> tuple[Responses, Any, Any]:
    head = Responses("{prompt}\n", None, answer_tokens)
    return head, checkpoint.tokenizer(directory), head.open(directory).eval()


def test_prompts_and_conversations_are_the_same_kind_of_row(tmp_path: Path) -> None:
    plain = {"prompt": "a ship?", "response": "Fram"}
    data = made(tmp_path, [plain]).load(LocalSource(None), silent)
    assert data.train.texts[0] == "a ship?"
    told = json.loads(str((data.train.labels or [])[0]))
    assert told == {"messages": [{"role": "user", "content": "a ship?"}], "response": "Fram"}
    data = made(tmp_path, [{"messages": TALK}], text="messages").load(LocalSource(None), silent)
    assert data.train.texts[0] == "be short\n\na ship?"
    told = json.loads(str((data.train.labels or [])[0]))
    assert told == {"messages": TALK[:2], "response": "Fram"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "response": ""}, "response 'response': expected a text, found ''"),
        ({"prompt": "a"}, "response 'response': expected a text, found none"),
        ({"prompt": "a", "response": ["b"]}, "expected a text, found ['b']"),
        ({"prompt": TALK[:2]}, "the last of the role assistant, found ['system', 'user']"),
        ({"prompt": TALK[2:]}, "expected two or more, the last of the role assistant"),
        ({"prompt": [{"role": "tool", "content": "x"}]}, "a role of system, user, assistant and a content"),
        ({"prompt": ["a", "b"]}, "expected objects with a role"),
        ({"prompt": "", "response": "b"}, "column 'prompt' is empty"),
    ],
)  # fmt: skip
def test_a_malformed_row_is_quarantined_with_its_place(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    rows = [{"prompt": "a ship?", "response": "Fram"}, row]
    rejected = made(tmp_path, rows).load(LocalSource(None), silent).quarantined[0]
    assert rejected.line == 2 and reason in rejected.reason


@pytest.mark.parametrize("template", ["{prompts}", "no place", "{prompt}{prompt}"])
def test_a_template_without_one_place_is_refused(tmp_path: Path, template: str) -> None:
    with pytest.raises(InvalidInput, match=r"task.template must hold \{prompt\} once, found"):
        made(tmp_path, [{"prompt": "a", "response": "b"}], template=template)


def test_the_loss_is_the_mean_over_the_tokens_of_responses_and_their_ends(decoder: Path) -> None:
    head, words, model = opened(decoder, 4)
    pairs = {"a ship?": "Fram", "and who sailed it so far?": "Amundsen"}
    read = head.read(corpus_of(pairs), model, words, 64, labelled=True)
    batch = read.labelled([0, 1])
    labels = batch.pop("labels")
    sums, count = 0.0, 0
    for prompt, response in pairs.items():
        before = words(f"{prompt}\n")["input_ids"]
        after = [*words(response)["input_ids"], words.eos_token_id]
        row = torch.tensor([[*before, *after]])
        logits = model(row).logits[0, len(before) - 1 : -1].detach().double()
        sums += float(
            torch.nn.functional.cross_entropy(logits, torch.tensor(after), reduction="sum")
        )
        count += len(after)
    loss = head.loss(model(**batch), labels, LossOptions())
    assert float(loss.detach()) == pytest.approx(sums / count, rel=1e-5)
    assert read.tokens.truncated == 0


def test_a_response_is_cut_and_counted_and_a_prompt_without_room_is_refused(
    tiny_gpt2: Path,
) -> None:
    head, words = Responses("{prompt}\n", None, 4), checkpoint.tokenizer(tiny_gpt2)
    corpus = corpus_of({"a ship?": "Fram and Gjoa", "b?": "no"})
    read = head.read(corpus, None, words, 12, labelled=True)
    assert read.tokens.truncated == 1 and max(read.tokens.lengths) == 12
    assert isinstance(read.labels, list)
    assert [int((row != IGNORED).sum()) for row in read.labels] == [4, 3]
    with pytest.raises(
        InvalidInput,
        match=r"max_length=8 leaves no room for a response after the prompt 'a ship\?' of 8 ",
    ):
        head.read(corpus, None, words, 8, labelled=True)


def test_a_chat_template_is_used_where_there_is_one_and_else_refused_if_asked_for(
    tiny_gpt2: Path,
) -> None:
    words = checkpoint.tokenizer(tiny_gpt2)
    label = json.dumps({"messages": TALK[:2], "response": "Fram"})
    corpus = Corpus.build(["be short\n\na ship?"], labels=[label])

    def prompt(chat: bool | None) -> str:
        read = Responses("Q: {prompt}", chat, 4).read(corpus, None, words, 64, labelled=False)
        return words.decode(read.tokens.ids[0])

    assert prompt(None) == prompt(False) == "Q: be short\n\na ship?"
    with pytest.raises(
        InvalidInput, match="needs a tokenizer with a chat template, this one has none"
    ):
        prompt(True)
    words.chat_template = CHAT
    assert prompt(None) == prompt(True) == "<system>be short<user>a ship?<a>"
    assert prompt(False) == "Q: be short\n\na ship?"
    words.chat_template = "{{ raise_exception('roles must take turns') }}"
    with pytest.raises(
        InvalidInput, match=r"refuses messages of system, user: roles must .*task.chat=false"
    ):
        prompt(None)


def test_predictions_are_the_most_likely_tokens_whatever_the_batch(decoder: Path) -> None:
    head, words, model = opened(decoder, 6)
    prompts = toy.sentences("stars", 5)
    corpus = corpus_of(dict.fromkeys(prompts, "x"))
    inputs = head.read(corpus, model, words, 128, labelled=False)
    found = [
        head.predict(
            model, inputs, Runtime("cpu", inference_tokens=size), lambda done: None
        ).tolist()
        for size in (1, 4096)
    ]
    expected: list[str] = []
    for prompt in prompts:
        ids = words(f"{prompt}\n")["input_ids"]
        size = len(ids)
        while len(ids) < size + 6:
            token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
            if token == words.eos_token_id:
                break
            ids.append(token)
        expected.append(words.decode(ids[size:], skip_special_tokens=True).strip())
    assert found[0] == found[1] == expected


def test_a_prompt_beyond_the_models_positions_and_an_encoder_are_refused(
    tiny_gpt2: Path, tiny_model: Path
) -> None:
    head, words = Responses("{prompt}\n", None, 100), checkpoint.tokenizer(tiny_gpt2)
    model = head.open(tiny_gpt2).eval()
    inputs = head.read(corpus_of({"x" * 30: "y"}), model, words, 128, labelled=False)
    with pytest.raises(InvalidInput, match=r"has 31 tokens, expected at most 28 beside a response"):
        head.predict(model, inputs, MACHINE, lambda done: None)
    with pytest.raises(
        InvalidInput, match=r"causal language model was expected .* trainer@warmup=clm"
    ):
        head.open(tiny_model)


def test_every_metric_is_measured_with_its_signature(tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu")
    rows = [{"prompt": f"{text}?", "response": text} for text in toy.sentences("music", 12)]
    spec = made(tmp_path, rows, metrics=["bleu", "chrf", "token_f1"])
    data = spec.load(LocalSource(None), silent)
    right = [json.loads(str(label))["response"] for label in data.test.labels or ()]
    metrics = {metric.name: metric for metric in spec.evaluate(np.array(right), data)}
    assert [metric.value for metric in metrics.values()] == pytest.approx([1.0] * 3)
    details = spec.details(np.array(["", *right[1:]]), data)
    assert details["empty_responses"] == 1
    assert (
        "nrefs:1" in details["signatures"]["bleu"] and "version:" in details["signatures"]["chrf"]
    )
    assert len({metric.protocol for metric in metrics.values()}) == 3


@pytest.mark.parametrize("adapted", [False, True], ids=["whole", "lora"])
def test_the_stored_model_predicts_what_validation_measured(
    adapted: bool, tiny_gpt2: Path, tmp_path: Path
) -> None:
    words = ["oar", "rum", "ice"]
    corpus = corpus_of({f"{text} {word}": word for word in words for text in ("say", "tell")})
    seen: list[list[str]] = []

    def metric(values: np.ndarray) -> float:
        seen.append(values.tolist())
        return float(len(seen))

    peft = Lora(2, 4.0, 0.0, "all") if adapted else None
    settings = {
        **toy.TRAINING,
        "max_length": 64,
        "learning_rate": 2e-2,
        "epochs": 8,
        "batch_size": 2,
    }
    trainer = Classifier(keep="best", patience=None, peft=peft, **settings)
    head = Responses("{prompt}\n", None, 3)
    facts = trainer.train_on(
        tiny_gpt2, corpus, Validation(corpus, metric), head, tmp_path, 0, MACHINE
    )
    assert (facts["epoch"], facts["truncated"]) == (8, 0)
    assert trainer.predict(tmp_path, corpus, head, MACHINE).values.tolist() == seen[-1]
    assert facts["last_loss"] < (5.3 if adapted else 4.5)  # of 257 tokens, 5.5 at first


def test_layers_whose_states_are_computed_once_are_refused(tiny_gpt2: Path) -> None:
    trainer = Classifier(keep="last", patience=None, frozen_layers=1, **toy.TRAINING)
    with pytest.raises(InvalidInput, match=r"finetune.frozen_layers computes .*finetune.freeze=\["):
        trainer.check_head(Responses("{prompt}", None, 3))
