"""Models of the hub in the size of a toy: architecture, positions, names of weights and files of the
tokenizer as the real repository has them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import toy

WIDTH = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
WORDS = [word for words in toy.TOPICS.values() for word in words.split()]
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
ENTRIES = list(
    dict.fromkeys([*toy.SPECIAL, *LETTERS, *(f"##{x}" for x in LETTERS), ".", *toy.COMMON, *WORDS])
)


def _word_pieces(folder: Path) -> None:
    """Writes `vocab.txt`, `tokenizer.json` and `tokenizer_config.json` of an uncased BERT."""
    from tokenizers import BertWordPieceTokenizer

    (folder / "vocab.txt").write_text("\n".join(ENTRIES) + "\n")
    BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True).save(
        str(folder / "tokenizer.json")
    )
    _json(folder / "tokenizer_config.json", {"do_lower_case": True, "model_max_length": 512})


def _byte_pairs(folder: Path) -> None:
    """Writes `vocab.json`, `merges.txt`, `tokenizer.json` and `tokenizer_config.json` of GPT-2."""
    from shortlist.models.pretrained import byte_level_bpe

    words: Any = byte_level_bpe([*WORDS, *toy.COMMON], 400)
    words.backend_tokenizer.save(str(folder / "tokenizer.json"))
    words.backend_tokenizer.model.save(str(folder))
    _json(folder / "tokenizer_config.json", {"model_max_length": 1024})


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def _bert(kind: str, **settings: Any) -> tuple[Any, dict[str, Any]]:
    import transformers

    config = transformers.BertConfig(vocab_size=len(ENTRIES), **WIDTH, **settings)
    return getattr(transformers, kind)(config), {"architectures": [kind]}


def _distilbert() -> tuple[Any, dict[str, Any]]:
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    config = DistilBertConfig(vocab_size=len(ENTRIES), dim=32, hidden_dim=64, n_layers=2, n_heads=2)
    return DistilBertForMaskedLM(config), {"architectures": ["DistilBertForMaskedLM"]}


def _gpt2() -> tuple[Any, dict[str, Any]]:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=401, n_positions=1024, n_embd=32, n_layer=2, n_head=2,
                        bos_token_id=400, eos_token_id=400)  # fmt: skip
    return GPT2LMHeadModel(config), {"architectures": ["GPT2LMHeadModel"]}


def _gpt_neo() -> tuple[Any, dict[str, Any]]:
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    config = GPTNeoConfig(vocab_size=401, max_position_embeddings=2048, hidden_size=32, num_layers=2,
                          num_heads=2, attention_types=[[["global", "local"], 1]], window_size=256,
                          bos_token_id=400, eos_token_id=400)  # fmt: skip
    return GPTNeoForCausalLM(config), {"architectures": ["GPTNeoForCausalLM"]}


def _as_published(weights: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns the weights under the names that the repository's file has."""
    if name == "google-bert/bert-base-uncased":  # of TensorFlow's times
        renamed = {
            key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"):
            value for key, value in weights.items()
        }  # fmt: skip
        import torch

        width = WIDTH["hidden_size"]
        return renamed | {"cls.seq_relationship.weight": torch.zeros(2, width),
                          "cls.seq_relationship.bias": torch.zeros(2)}  # fmt: skip
    if name.startswith("openai-community/"):  # the body alone, the head is tied
        return {key.removeprefix("transformer."): value for key, value in weights.items()}
    return weights


# Revision that `conf` may pin, files of the tokenizer, and the model.
MODELS: dict[str, tuple[str, Callable[[Path], None], Callable[[], tuple[Any, dict[str, Any]]]]] = {
    "google-bert/bert-base-uncased": (
        "86b5e0934494bd15c9632b12f734a8a67f723594", _word_pieces,
        lambda: _bert("BertForMaskedLM", max_position_embeddings=512),
    ),
    "distilbert/distilbert-base-uncased": (
        "12040accade4e8a0f71eabdb258fecc2e7e948be", _word_pieces, _distilbert,
    ),
    # Whether the real repository has its weights as safetensors is not known here.
    "ishan/bert-base-uncased-mnli": (
        "", _word_pieces,
        lambda: _bert("BertForSequenceClassification", max_position_embeddings=512, num_labels=3),
    ),
    "openai-community/gpt2": ("607a30d783dfa663caf39e06633721c8d4cfcd7e", _byte_pairs, _gpt2),
    "openai-community/gpt2-xl": ("15ea56dee5df4983c59b2538573817e1667135e2", _byte_pairs, _gpt2),
    "EleutherAI/gpt-neo-2.7B": ("e24fa291132763e59f4a5422741b424fb5d59056", _byte_pairs, _gpt_neo),
}  # fmt: skip


def write(folder: Path, name: str) -> None:
    """Writes the files of the repository's `main` branch."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    _, tokenizer, build = MODELS[name]
    tokenizer(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, config = build()
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    tied = [key for key in weights if key in model.all_tied_weights_keys]
    kept = {key: value.clone() for key, value in weights.items() if key not in tied}
    save_file(_as_published(kept, name), folder / "model.safetensors", {"format": "pt"})
    _json(folder / "config.json", {**model.config.to_diff_dict(), **config})
    (folder / "README.md").write_text("---\nlicense: other\n---\n")
    (folder / "pytorch_model.bin").write_bytes(b"never fetched, never read")
