"""Toy words, corpora and models for the tests: built in milliseconds, seeded, tiny."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shortlist.core import Corpus

TOPICS = {
    "sailing": "anchor boat captain current deck harbour hull island keel knot mast ocean reef rope "
    "rudder sail shore storm tide wave",
    "baking": "bake bread butter cake cream crust dough egg flour honey loaf milk oven pastry salt "
    "sugar vanilla whisk yeast pan",
    "gardens": "bee bloom branch bush compost fence fern flower grass hedge leaf moss mulch petal root "
    "rose seed soil spade thorn",
    "music": "bass beat bow cello chord choir clef drum flute harp key melody note oboe organ piano "
    "rhythm song string viola",
    "stars": "comet crater dust eclipse galaxy gravity halo lens light meteor moon nebula orbit planet "
    "probe pulsar rocket star sun telescope",
}
COMMON = ["the", "a", "of", "and", "in", "to", "with", "near", "under", "over"]
TRAINING: dict[str, Any] = {  # settings of a toy training
    "epochs": 2, "learning_rate": 5e-3, "batch_size": 8, "max_length": 32, "weight_decay": 0.01,
    "warmup_fraction": 0.06, "clip": 1.0, "precision": "32", "betas": [0.9, 0.999], "eps": 1e-8,
}  # fmt: skip
SIZES: dict[str, Any] = {  # of BERT and Llama
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "max_position_embeddings": 128,
}  # fmt: skip
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def sentence(rng: random.Random, topic: str, shortest: int = 6, longest: int = 14) -> str:
    """Returns a sentence of one topic: two words in three are the topic's."""
    words = TOPICS[topic].split()
    size = rng.randint(shortest, longest)
    return " ".join(rng.choice(words if rng.random() < 2 / 3 else COMMON) for _ in range(size))


def sentences(topic: str, n: int, seed: int = 0) -> list[str]:
    """Returns n different sentences of a topic."""
    rng = random.Random(f"{topic} {seed}")
    found: dict[str, None] = {}
    while len(found) < n:
        found[sentence(rng, topic)] = None
    return list(found)


def labelled(topics: Sequence[str], n: int = 8, seed: int = 0) -> Corpus:
    """Returns n sentences of each topic, which is their label."""
    from shortlist.core import Corpus

    pairs = [(text, topic) for topic in topics for text in sentences(topic, n, seed)]
    texts, labels = zip(*pairs, strict=True)
    return Corpus.build(texts, labels=labels)


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Returns the path after writing the rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_data(root: Path) -> Path:
    """Returns `root` with a small task (sailing or baking?) and a pool of two domains in it.

    The task stands under the name of a configured one, so that no configuration is needed for it.
    """
    for split, seed, n in (("train", 1, 12), ("validation", 2, 6), ("test", 3, 10)):
        rows = [
            {"text": text, "label": topic}
            for topic in ("sailing", "baking")
            for text in sentences(topic, n, seed)
        ]
        write_jsonl(root / "tasks" / "citation_intent" / f"{split}.jsonl", rows)
    for domain, topics in (("near", ("sailing", "baking")), ("far", ("gardens", "music", "stars"))):
        rows = [
            {"id": f"{topic}-{row}", "text": text}
            for topic in topics
            for row, text in enumerate(sentences(topic, 10, 4))
        ]
        write_jsonl(root / "pools" / f"{domain}.jsonl", rows)
    return root


def write_bert(directory: Path, seed: int = 0, positions: int = 128) -> Path:
    """Returns a directory with a BERT of random weights: 32 wide, 2 layers."""
    import torch
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    topics = [word for words in TOPICS.values() for word in words.split()]
    entries = dict.fromkeys([*SPECIAL, *letters, *(f"##{x}" for x in letters), *COMMON, *topics])
    words = Tokenizer(
        WordPiece({word: index for index, word in enumerate(entries)}, unk_token="[UNK]")
    )
    words.normalizer = normalizers.BertNormalizer()
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    # As MiniLM's file does: the code must switch both off.
    words.enable_padding(length=16)
    words.enable_truncation(16)

    def build() -> Any:
        sizes = {**SIZES, "max_position_embeddings": positions}
        model = BertForMaskedLM(BertConfig(vocab_size=len(entries), num_attention_heads=2, **sizes))
        # Embeddings of the size that training gives them: at the initial 0.02 positions drown words.
        torch.nn.init.normal_(model.bert.embeddings.word_embeddings.weight, std=0.3)
        return model

    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, **dict(zip(names, SPECIAL, strict=True))
    )
    return write_model(directory, build, tokenizer, seed)


def write_model(directory: Path, build: Callable[[], Any], tokenizer: Any, seed: int) -> Path:
    """Returns a directory with the model that `build` returns, its weights drawn from a seed."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build()
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def write_gpt2(directory: Path, seed: int = 0) -> Path:
    """Returns a directory with a GPT-2 of random weights on bytes: 32 wide, 2 layers, 128 positions."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    end = "<|endoftext|>"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(BPE({sign: index for index, sign in enumerate([*alphabet, end])}, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    size = len(alphabet) + 1
    config = GPT2Config(
        vocab_size=size,
        n_positions=128,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=size - 1,
        eos_token_id=size - 1,
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token=end, bos_token=end, unk_token=end
    )
    return write_model(directory, lambda: GPT2LMHeadModel(config), tokenizer, seed)


def write_llama(directory: Path, start: Path, seed: int = 0) -> Path:
    """Returns a directory with a Llama of random weights, head not tied: 32 wide, 2 layers, 128
    positions; its tokenizer is that of the GPT-2 in `start`.
    """
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    words = AutoTokenizer.from_pretrained(start)
    config = LlamaConfig(
        vocab_size=len(words),
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        **SIZES,
    )
    return write_model(directory, lambda: LlamaForCausalLM(config), words, seed)


def pdf(*pages: str) -> bytes:
    """Returns a PDF file written by hand: one line of Helvetica a page; none for an empty text."""
    kids = " ".join(f"{3 + 2 * page} 0 R" for page in range(len(pages)))
    objects = ["<</Type/Catalog/Pages 2 0 R>>", f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>"]
    font = "<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>"
    for page, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        objects += [
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources{font}/Contents {4 + 2 * page} 0 R>>",
            f"<</Length {len(stream)}>>stream\n{stream}\nendstream",
        ]
    out, places = "%PDF-1.4\n", list[int]()
    for number, item in enumerate(objects, start=1):
        places.append(len(out))
        out += f"{number} 0 obj{item}endobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    start = len(out)
    size = len(objects) + 1
    out += f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer<</Size {size}/Root 1 0 R>>\n"
    return f"{out}startxref\n{start}\n%%EOF\n".encode()


def write_words(directory: Path) -> Path:
    """Returns a directory with a byte-level BPE tokenizer of some 40 merges."""
    from shortlist.models.pretrained import byte_level_bpe

    byte_level_bpe(sentences("sailing", 60), 300).save_pretrained(directory)
    (directory / "config.json").write_text('{"model_type": "llama"}')
    return directory


def write_gguf(path: Path, llama: Path) -> Path:
    """Returns the path of a GGUF file with the float32 weights and the BPE tokenizer of a Llama, in
    the order of llama.cpp's converter.
    """
    from gguf import GGUFWriter
    from transformers import AutoTokenizer, LlamaForCausalLM

    model: Any = LlamaForCausalLM.from_pretrained(llama)
    words: Any = AutoTokenizer.from_pretrained(llama)
    config, writer = model.config, GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words.convert_ids_to_tokens(list(range(len(words)))))
    writer.add_token_types([3] + [1] * (len(words) - 1))
    merges = json.loads((llama / "tokenizer.json").read_text(encoding="utf-8"))["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(words.bos_token_id)
    writer.add_eos_token_id(words.eos_token_id)
    names = {
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
        "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
        "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, weight in model.state_dict().items():
        whole, part = name.removesuffix(".weight"), name.split(".")[-2]
        values = weight.numpy()
        if part in heads:  # the rotated halves take turns
            halves = values.reshape(heads[part], 2, -1, values.shape[1])
            values = halves.swapaxes(1, 2).reshape(values.shape).copy()
        own = names.get(whole) or f"blk.{name.split('.')[2]}.{names[part]}"
        writer.add_tensor(f"{own}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
