"""Parameter groups: every trained weight is in exactly one, at the rate that the formula gives."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, BertConfig, BertForSequenceClassification

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.heads.labels import SingleLabel
from shortlist.trainers.adapters import Adapter, Dora, Ia3, Lora
from shortlist.trainers.classify import Classifier
from shortlist.trainers.groups import Depths, Unfreezing, freeze, groups
from shortlist.trainers.language_model import CausalLM, MaskedLM

LABELS = ("baking", "sailing")
HEAD = SingleLabel(LABELS)
BASE: dict[str, Any] = {**toy.TRAINING, "epochs": 3}


def examples(n: int = 8) -> Corpus:
    return toy.labelled(LABELS, n)


def classifier(**changed: Any) -> Classifier:
    return Classifier(**{**BASE, "keep": "last", "patience": None, **changed})


@pytest.fixture(params=["bert", "gpt2"])
def start(request: pytest.FixtureRequest, tiny_model: Path, tiny_gpt2: Path) -> Path:
    return tiny_model if request.param == "bert" else tiny_gpt2


MODELS = {
    "classifier": lambda at: checkpoint.classifier(at, 2),
    "lm": lambda at: checkpoint.causal_lm(at) if "gpt2" in str(at) else checkpoint.masked_lm(at),
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("changed", [{}, {"layer_decay": 0.5}, {"frozen": "embeddings"}])
def test_every_trained_weight_is_in_exactly_one_group(
    start: Path, kind: str, changed: dict[str, Any]
) -> None:
    model = MODELS[kind](start)
    if "frozen" in changed:
        freeze(model, ["embeddings"], "x.freeze")
    found = groups(model, 1e-3, 0.1, changed.get("layer_decay"), None, "x")
    counted = Counter(id(weight) for group in found for weight in group.weights)
    assert counted == {id(p): 1 for p in model.parameters() if p.requires_grad}
    for group in found:
        assert {p.ndim >= 2 for p in group.weights} == {group.weight_decay > 0}


WIDE: dict[str, Any] = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8}
ARCHITECTURES: dict[str, dict[str, Any]] = {  # of the models in conf/model, and RoBERTa
    "bert": {**WIDE, "num_hidden_layers": 3},
    "roberta": {**WIDE, "num_hidden_layers": 3},
    "distilbert": {"dim": 8, "hidden_dim": 8, "n_layers": 3, "n_heads": 2},
    "gpt2": {"n_embd": 8, "n_layer": 3, "n_head": 2},
    "gpt_neo": {"hidden_size": 8, "num_layers": 3, "num_heads": 2, "intermediate_size": 8,
                "attention_types": [[["global", "local"], 1], [["global"], 1]]},
    "llama": {**WIDE, "num_hidden_layers": 3},
}  # fmt: skip
METHODS: dict[str, Adapter | None] = {
    "all": None, "lora": Lora(2, 4, 0.0, "all"), "dora": Dora(2, 4, 0.0, "all"),
    "ia3": Ia3(None, None),
}  # fmt: skip


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("head", ["SequenceClassification", "TokenClassification", "lm"])
def test_each_trained_weight_is_in_one_group_before_and_after_every_unfreezing(
    architecture: str, head: str
) -> None:
    causal = architecture in ("gpt2", "gpt_neo", "llama")
    kind = {"lm": "CausalLM" if causal else "MaskedLM"}.get(head, head)
    config = AutoConfig.for_model(
        architecture, vocab_size=16, max_position_embeddings=16, **ARCHITECTURES[architecture]
    )
    known = METHODS if architecture != "distilbert" else {**METHODS, "ia3": None}  # peft knows none
    for name, peft in known.items():
        changed: list[dict[str, Any]] = [{}, {"layer_decay": 0.5}]
        for settings in (*changed, {"freeze": "embeddings"}) if peft is None else changed:
            module = Classifier(
                **{**BASE, "keep": "last", "patience": None, "unfreeze": 1}, peft=peft, **settings
            )
            module.objective = "lm" if head == "lm" else None
            module.model = getattr(transformers, f"AutoModelFor{kind}").from_config(config)
            module.prepare()
            weights = {id(one): one for one in module.model.parameters() if one.requires_grad}
            optimiser, seen = module.optimiser(), [0]
            for epoch in range(5):
                held = [weight for group in optimiser.param_groups for weight in group["params"]]
                assert Counter(map(id, held)) == dict.fromkeys(weights, 1), (name, settings)
                assert module.unfreezing is not None
                module.unfreezing.enter(epoch)
                trained = {id(one) for one in module.model.parameters() if one.requires_grad}
                assert trained <= weights.keys() and len(trained) >= seen[-1]
                left = sum(one.numel() for at, one in weights.items() if at not in trained)
                assert left == module.unfreezing.left(epoch)
                seen.append(len(trained))
            assert len(set(seen)) >= 3 and trained == weights.keys()


def test_rates_fall_by_the_decay_from_layer_to_layer_as_timm_counts_them(start: Path) -> None:
    model = checkpoint.classifier(start, 2)
    found = groups(model, 1.0, 0.0, 0.5, None, "x")
    rate = {name: group.learning_rate for group in found for name in group.names}
    for name, value in rate.items():  # two layers: head 1, layers 1/2 and 1/4, embeddings 1/8
        if ".layer." in name or ".h." in name:
            layer = int(name.replace(".h.", ".layer.").split(".layer.")[1].split(".")[0])
            assert value == 0.5 ** (2 - layer), name
        elif "embeddings" in name or ".wte." in name or ".wpe." in name:
            assert value == 0.5**3, name
        else:
            assert value == 1.0, name  # pooler, last norm, head
    assert set(rate.values()) == {1.0, 0.5, 0.25, 0.125}


def test_no_decay_of_rates_is_plain_adamw(start: Path) -> None:
    model = checkpoint.classifier(start, 2)
    for decay in (None, 1.0):
        found = groups(model, 1e-3, 0.1, decay, None, "x")
        assert [(g.learning_rate, g.weight_decay) for g in found] == [(1e-3, 0.1), (1e-3, 0.0)]


def test_the_head_has_its_own_rate(start: Path) -> None:
    model = checkpoint.classifier(start, 2)
    fast = {
        name
        for group in groups(model, 1e-3, 0.1, 0.9, 7e-3, "x")
        for name in group.names
        if group.learning_rate == 7e-3
    }
    assert fast == {name for name, _ in model.named_parameters() if "classifier" in name
                    or name.startswith("score")}  # fmt: skip


def test_a_tied_head_is_refused_a_rate_of_its_own(tiny_gpt2: Path) -> None:
    with pytest.raises(InvalidInput, match=r"GPT2LMHeadModel has none; set warmup\.head_learn"):
        groups(checkpoint.causal_lm(tiny_gpt2), 1e-3, 0.1, None, 1e-2, "warmup")


def test_a_head_that_stays_is_refused_a_rate_of_its_own(start: Path) -> None:
    model = checkpoint.classifier(start, 2)
    freeze(model, ["classifier*" if hasattr(model, "classifier") else "score*"], "x.freeze")
    with pytest.raises(InvalidInput, match="needs a head with trained weights of its own"):
        groups(model, 1e-3, 0.1, None, 1e-2, "finetune")


@pytest.mark.parametrize("layers", [1, 2])
def test_unfreezing_begins_with_the_highest_weights_that_are_trained(
    start: Path, layers: int
) -> None:
    """An adapter of a language model leaves nothing to train after the last layer."""
    model = Lora(2, 4, 0.0, "all").attach(MODELS["lm"](start), 0, False, "x.peft")
    depths, plan = Depths.read(model, "x"), Unfreezing.plan(model, layers, "x.unfreeze")
    for epoch in range(3):
        plan.enter(epoch)
        trained = [depths.of[n] for n, w in model.named_parameters() if w.requires_grad]
        assert set(trained) == set(range(max(1, 3 - layers * (epoch + 1)), 3))


def test_unfreezing_goes_down_from_the_top_and_ends_with_every_weight(start: Path) -> None:
    model = checkpoint.classifier(start, 2)
    depths = Depths.read(model, "x")
    plan = Unfreezing.plan(model, 1, "x.unfreeze")
    seen = []
    for epoch in range(4):
        plan.enter(epoch)
        trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
        assert trained == {name for name, depth in depths.of.items() if depth >= 3 - epoch}
        seen.append(len(trained))
    assert seen == sorted(set(seen)) and seen[-1] == len(depths.of)


def test_unfreezing_by_steps_grows_within_an_epoch(
    start: Path, tmp_path: Path, machine: Any
) -> None:
    seen: list[int] = []

    class Watched(Classifier):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            super().on_train_batch_start(batch, batch_idx)
            depths = Depths.read(self.model, "x").of
            trained = [depths[n] for n, w in self.model.named_parameters() if w.requires_grad]
            seen.append(min(trained))

    settings = {**BASE, "epochs": 2, "batch_size": 2, "keep": "last", "patience": None}
    module = Watched(**settings, unfreeze=1, unfreeze_steps=3)
    module.train_on(start, examples(), None, HEAD, tmp_path, 0, machine)
    assert seen == [max(0, 3 - step // 3) for step in range(16)]


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
def test_training_on_cached_states_is_training_with_frozen_weights(
    kind: str, tiny_model: Path, tiny_gpt2: Path, tiny_llama: Path, tmp_path: Path, machine: Any
) -> None:
    at = {"bert": tiny_model, "gpt2": tiny_gpt2, "llama": tiny_llama}[kind]
    lower = ["embeddings", "*layers.0.*" if kind == "llama" else "*.0.*"]
    dropout = {"attention_dropout": 0.0} | ({} if kind == "llama" else {"hidden_dropout": 0.0})
    for name, changed in (("cached", {"frozen_layers": 1}), ("frozen", {"freeze": lower})):
        module = classifier(**dropout, **changed, epochs=2)
        module.train_on(at, examples(), None, HEAD, tmp_path / name, 0, machine)
    cached, frozen = (
        load_file(tmp_path / name / "model.safetensors") for name in ("cached", "frozen")
    )
    for name, weight in frozen.items():
        assert torch.allclose(cached[name], weight, atol=1e-4), name


def test_unfreezing_several_layers_at_once() -> None:
    model: Any = BertForSequenceClassification(
        BertConfig(vocab_size=8, hidden_size=4, num_hidden_layers=5, num_attention_heads=1,
                   intermediate_size=4, max_position_embeddings=4)
    )  # fmt: skip
    depths, plan = Depths.read(model, "x"), Unfreezing.plan(model, 2, "x")
    lowest = []
    for epoch in range(4):
        plan.enter(epoch)
        lowest.append(min(depths.of[n] for n, p in model.named_parameters() if p.requires_grad))
    assert lowest == [6, 4, 2, 0]


@pytest.mark.parametrize(
    ("patterns", "reason"),
    [(["no.such.*"], "'no.such.\\*' matches none"), (["*"], "no weight is left to train")],
)
def test_what_cannot_be_frozen_is_said(start: Path, patterns: list[str], reason: str) -> None:
    model = checkpoint.classifier(start, 2)
    with pytest.raises(InvalidInput, match=reason):
        freeze(model, patterns, "finetune.freeze")
        groups(model, 1e-3, 0.1, None, None, "finetune")


@pytest.mark.parametrize("names", ["all", "embeddings", ["*.1.*"]])
def test_frozen_weights_stay_and_all_others_learn(
    start: Path, tmp_path: Path, machine: Any, names: Any
) -> None:
    module = classifier(freeze=names, epochs=1)
    module.train_on(start, examples(), None, HEAD, tmp_path, 0, machine)
    before, after = (load_file(at / "model.safetensors") for at in (start, tmp_path))
    model = checkpoint.classifier(tmp_path, 2)
    freeze(model, [names] if isinstance(names, str) else names, "x")
    for name, weight in model.named_parameters():
        if name in before:  # the head is new
            same = torch.equal(before[name], after[name])
            assert same == (not weight.requires_grad) or "token_type" in name, name


def test_optimiser_state_and_schedule_survive_unfreezing(
    start: Path, tmp_path: Path, machine: Any
) -> None:
    seen: list[tuple[int, float, int, float]] = []

    class Watched(Classifier):
        def on_train_batch_end(self, *_: Any) -> None:
            optimiser: Any = self.optimizers(use_pl_optimizer=False)
            head = next(w for n, w in self.model.named_parameters() if n.endswith("weight")
                        and ("classifier" in n or n.startswith("score")))  # fmt: skip
            moments = [state for state in optimiser.state.values() if state]
            rates = [group["lr"] for group in optimiser.param_groups]
            seen.append((len(moments), float(optimiser.state[head]["step"]), len(rates), rates[0]))

    module = Watched(**{**BASE, "epochs": 4, "keep": "last", "patience": None, "unfreeze": 1})
    module.train_on(start, examples(), None, HEAD, tmp_path / "gradual", 0, machine)
    plain = [module.rate_factor(step + 1, len(seen)) * 5e-3 for step in range(len(seen))]
    assert [entry[1] for entry in seen] == list(range(1, len(seen) + 1))  # never begun anew
    assert [entry[3] for entry in seen] == pytest.approx(plain)
    assert len({entry[2] for entry in seen}) == 1
    moments = [entry[0] for entry in seen[1 :: len(seen) // 4]]
    assert moments == sorted(set(moments))  # more weights with every epoch


def test_unfreezing_reaches_language_models(start: Path, tmp_path: Path, machine: Any) -> None:
    corpus = Corpus.build(toy.sentences("sailing", 8))
    module: Any = (
        CausalLM(**{**BASE, "epochs": 2, "unfreeze": 1, "block": 32})
        if "gpt2" in str(start)
        else MaskedLM(**{**BASE, "epochs": 2, "unfreeze": 1, "mask_share": 0.5})
    )
    module.train_on(start, corpus, tmp_path, 0, machine)
    before, after = (load_file(at / "model.safetensors") for at in (start, tmp_path))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(".1." in name for name in changed)
    assert not any(".0." in name or "embeddings" in name or ".wte." in name for name in changed)


def test_a_linear_probe_trains_what_is_new_and_nothing_pretrained(
    start: Path, tmp_path: Path, machine: Any
) -> None:
    module = classifier(freeze="all", epochs=1)
    module.train_on(start, examples(), None, HEAD, tmp_path / "probe", 0, machine)
    stored, probe = (load_file(at / "model.safetensors") for at in (start, tmp_path / "probe"))
    new = {name for name in probe if name not in stored}
    heads = ("classifier.", "score.", "pre_classifier.")
    assert all("pooler" in name or name.startswith(heads) for name in new)
    module.model = HEAD.open(start)
    module.prepare()
    trained = {name for group in module.groups for name in group.names}
    assert trained == new  # the pooler among them: as random as the head
    assert all(torch.equal(stored[name], probe[name]) for name in probe.keys() & stored.keys())


@pytest.mark.parametrize(("name", "value"), [("unfreeze", 1), ("layer_decay", 0.9)])
def test_settings_of_layers_beside_freeze_all_are_refused(name: str, value: float) -> None:
    told = rf"finetune\.freeze=all trains the head alone, so that finetune\.{name}={value}"
    with pytest.raises(InvalidInput, match=told):
        classifier(freeze="all", **{name: value})
