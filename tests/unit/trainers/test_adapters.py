"""Parameter-efficient training: what is merged predicts what was trained, what is frozen stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from safetensors.torch import load_file

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.heads.labels import SingleLabel
from shortlist.trainers import adapters
from shortlist.trainers.adapters import Dora, Ia3, Lora, PrefixTuning, PromptTuning
from shortlist.trainers.classify import Classifier, Validation
from shortlist.trainers.groups import groups
from shortlist.trainers.language_model import CausalLM, MaskedLM

LABELS = ("baking", "sailing")
HEAD = SingleLabel(LABELS)
BASE: dict[str, Any] = {**toy.TRAINING, "learning_rate": 2e-2, "warmup_fraction": 0.0}
LORA = Lora(rank=4, alpha=8, dropout=0.1, targets="all")
MERGED = {"lora": LORA, "dora": Dora(4, 8, 0.0, "all"), "ia3": Ia3(None, None)}
PROMPTS = {"prompt": PromptTuning(4), "prefix": PrefixTuning(4)}


def examples(n: int = 8) -> Corpus:
    return toy.labelled(LABELS, n)


def classifier(**changed: Any) -> Classifier:
    return Classifier(**{**BASE, "keep": "last", "patience": None, **changed})


@pytest.fixture(params=["bert", "gpt2", "llama"])
def start(
    request: pytest.FixtureRequest, tiny_model: Path, tiny_gpt2: Path, tiny_llama: Path
) -> Path:
    return {"bert": tiny_model, "gpt2": tiny_gpt2, "llama": tiny_llama}[request.param]


def opened(at: Path, kind: str) -> Any:
    if kind == "classifier":
        return checkpoint.classifier(at, 2)
    bert = json.loads((at / "config.json").read_text())["model_type"] == "bert"
    return checkpoint.masked_lm(at) if bert else checkpoint.causal_lm(at)


def logits_of(model: Any) -> torch.Tensor:
    model.config.pad_token_id = 0
    ids = torch.randint(5, 90, (3, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


@pytest.mark.parametrize("method", MERGED)
@pytest.mark.parametrize("kind", ["classifier", "language model"])
def test_merged_and_reloaded_logits_are_those_of_the_adapter(
    start: Path, method: str, kind: str, tmp_path: Path
) -> None:
    head, model = kind == "classifier", opened(start, kind)
    names, config = list(model.state_dict()), model.config.to_json_string()
    before = logits_of(model)
    adapted = MERGED[method].attach(model, 0, head, "x.peft")
    assert torch.allclose(logits_of(adapted), before, atol=1e-5)  # it begins as the model
    generator = torch.Generator().manual_seed(1)
    for _, weight in adapted.named_parameters():
        if weight.requires_grad:
            weight.data += 0.1 * torch.randn(weight.shape, generator=generator)
    expected = logits_of(adapted)
    assert (expected - before).abs().max() > 1e-3
    merged = MERGED[method].detach(adapted)
    assert list(merged.state_dict()) == names
    merged.config.pad_token_id = json.loads(config).get("pad_token_id")
    assert merged.config.to_json_string() == config
    checkpoint.save(tmp_path, merged, checkpoint.tokenizer(start))
    assert torch.allclose(logits_of(opened(tmp_path, kind)), expected, atol=1e-5)


@pytest.mark.parametrize("method", MERGED)
def test_training_changes_the_adapted_matrices_and_leaves_all_others(
    start: Path, method: str, tmp_path: Path, machine: Any
) -> None:
    corpus, settings = Corpus.build(toy.sentences("sailing", 8)), {**BASE, "peft": MERGED[method]}
    bert = "bert" in start.name
    module: Any = MaskedLM(**settings, mask_share=0.3) if bert else CausalLM(**settings, block=32)
    facts = module.train_on(start, corpus, tmp_path, 0, machine)
    before, after = (load_file(at / "model.safetensors") for at in (start, tmp_path))
    assert list(before) == list(after)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    matrices = checkpoint.last_matrices(opened(start, "lm"), 2, "x")
    assert changed and {name.rpartition(".")[0] for name in changed} <= set(matrices)
    if method != "ia3":  # which scales the biases of its matrices too
        assert changed == {f"{name}.weight" for name in matrices}
    model = opened(start, "lm")
    assert facts["parameters"] == sum(weight.numel() for weight in model.parameters())
    adapted = MERGED[method].attach(model, 0, False, "x")
    trained = sum(w.numel() for w in adapted.parameters() if w.requires_grad)
    assert facts["trained_parameters"] == trained
    assert facts["memory_saved_bytes"] == 12 * (facts["parameters"] - trained)
    assert facts["trained_parts_per_million"] == round(1e6 * trained / facts["parameters"])


@pytest.mark.parametrize("method", [*MERGED, *PROMPTS])
def test_what_validation_measured_is_what_the_stored_model_predicts(
    start: Path, method: str, tmp_path: Path, machine: Any
) -> None:
    if method == "prompt" and "bert" not in start.name:
        pytest.skip("refused: see below")
    seen: list[Any] = []
    watched = Validation(examples(4), lambda values: seen.append(values) or float(len(seen)))
    module = classifier(keep="best", peft=(MERGED | PROMPTS)[method])
    module.train_on(start, examples(), watched, HEAD, tmp_path, 0, machine)
    found = module.predict(tmp_path, examples(4), HEAD, machine).values
    np.testing.assert_allclose(seen[-1], found, atol=1e-5)
    assert (tmp_path / checkpoint.ADAPTER).is_dir() == (method in PROMPTS)
    if method in PROMPTS:
        assert str(start) not in (tmp_path / "adapter" / "adapter_config.json").read_text()
        with pytest.raises(InvalidInput, match="needs the vectors of its fine-tuning"):
            checkpoint.encoder(tmp_path)


@pytest.mark.parametrize("method", PROMPTS)
def test_prompts_learn_and_layers_stay(
    tiny_model: Path, method: str, tmp_path: Path, machine: Any
) -> None:
    classifier(peft=PROMPTS[method]).train_on(
        tiny_model, examples(), None, HEAD, tmp_path, 0, machine
    )
    before, after = (load_file(at / "model.safetensors") for at in (tiny_model, tmp_path))
    layers = [name for name in before if name.startswith("bert.")]
    assert layers and all(torch.equal(before[name], after[name]) for name in layers)
    torch.manual_seed(0)
    vectors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    initial = PROMPTS[method].attach(checkpoint.classifier(tiny_model, 2), 0, True, "x")
    assert all(value.shape[0] == 4 for value in vectors.values()) and len(vectors) == 1
    assert not torch.equal(
        next(iter(vectors.values())), initial.prompt_encoder.default.embedding.weight
    )


def test_vectors_that_scale_have_no_weight_decay(start: Path) -> None:
    for method in ("ia3", "dora"):
        model = MERGED[method].attach(checkpoint.classifier(start, 2), 0, True, "x")
        names = [n for one in groups(model, 1.0, 0.1, None, None, "x") if one.weight_decay
                 for n in one.names]  # fmt: skip
        assert not [name for name in names if "ia3_l" in name or "magnitude" in name]
        assert [
            name for name in names if "lora_A" in name or "classifier" in name or "score" in name
        ]


def test_an_adapter_stands_after_the_frozen_layers_only(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    module = classifier(peft=LORA, frozen_layers=1, unfreeze=1, layer_decay=0.5)
    module.train_on(tiny_model, examples(), None, HEAD, tmp_path, 0, machine)
    before, after = (load_file(at / "model.safetensors") for at in (tiny_model, tmp_path))
    changed = {
        name for name in before if name in after and not torch.equal(before[name], after[name])
    }
    assert changed and all("layer.1." in name for name in changed)


def test_freezing_patterns_reach_adapters(tiny_model: Path, tmp_path: Path, machine: Any) -> None:
    module = classifier(peft=LORA, freeze=["*.layer.0.*"])
    module.train_on(tiny_model, examples(), None, HEAD, tmp_path, 0, machine)
    before, after = (load_file(at / "model.safetensors") for at in (tiny_model, tmp_path))
    changed = {
        name for name in before if name in after and not torch.equal(before[name], after[name])
    }
    assert changed and all("layer.1." in name for name in changed)


@pytest.mark.parametrize(
    ("targets", "reason"),
    [
        (["*decoder"], r"matches cls\.predictions\.decoder, tied to bert\.embeddings\.word_emb"),
        (["*embeddings.word_embeddings"], r"tied to cls\.predictions\.decoder"),
        (["*transform.dense"], r"matches cls\.predictions\.transform\.dense, outside"),
        (["*.quary"], r"matches no matrix of the trained layers; .*query"),
    ],
)
def test_targets_that_cannot_be_merged_are_refused_by_name(
    tiny_model: Path, targets: list[str], reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Lora(4, 8, 0.0, targets).attach(checkpoint.masked_lm(tiny_model), 0, False, "warmup.peft")


def test_a_tied_head_of_gpt2_is_refused_and_patterns_choose(tiny_gpt2: Path) -> None:
    with pytest.raises(InvalidInput, match=r"lm_head, tied to transformer\.wte"):
        Lora(4, 8, 0.0, "lm_head").attach(checkpoint.causal_lm(tiny_gpt2), 0, False, "warmup.peft")
    model = Lora(4, 8, 0.0, ["*.c_attn"]).attach(checkpoint.causal_lm(tiny_gpt2), 0, False, "x")
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert len(names) == 4 and all(".attn.c_attn.lora_" in name for name in names)


def test_what_a_model_does_not_allow_is_refused(
    tiny_gpt2: Path, tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    with pytest.raises(InvalidInput, match="finds the last token of a text by its id"):
        PROMPTS["prompt"].attach(checkpoint.classifier(tiny_gpt2, 2), 0, True, "finetune.peft")
    model = checkpoint.classifier(tiny_model, 2)
    model.config.model_type = "unheard_of"
    with pytest.raises(InvalidInput, match="peft knows no matrices for IA3 of unheard_of models"):
        Ia3(None, None).attach(model, 0, True, "finetune.peft")
    with pytest.raises(InvalidInput, match=r"128 positions, 4 of which peft takes; set .*=124"):
        classifier(peft=PROMPTS["prompt"], max_length=126).train_on(
            tiny_model, examples(), None, HEAD, tmp_path, 0, machine
        )


def test_the_estimate_of_memory_is_gradient_and_two_moments() -> None:
    assert adapters.memory_saved(1000, 10) == 990 * 3 * torch.float32.itemsize
