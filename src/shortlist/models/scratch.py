"""A GPT-2 that does not exist yet: its tokenizer and its first, random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.pretrained import Pretrained

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

END = "<|endoftext|>"
BYTES = 256


class ScratchModel(Pretrained):
    """GPT-2's architecture at any size, pre-trained by the pipeline on a sample of the cell's pool.

    The pool stands for the pre-training distribution, as GOT-D assumes; here it is that.
    """

    requires_training = True

    def __init__(
        self,
        vocabulary: int,
        layers: int,
        heads: int,
        width: int,
        positions: int,
        dropout: float,
        documents: int | None,
        seed: int,
        pretraining: Any,
    ) -> None:
        """Stores the settings.

        Args:
            vocabulary: entries of the byte-level BPE: 256 bytes, the end token, the rest merges.
            layers: blocks of attention and feed-forward.
            heads: attention heads a layer; they divide `width`.
            width: of the hidden states.
            positions: longest sequence in tokens.
            dropout: share of activations that training drops, here and in every later training.
            documents: at most so many of the pool are read, a sample by id; None for all.
            seed: decides the first weights and the order of the documents; one for all cells, which
                start from one model.
            pretraining: what trains it (`trainers/pretraining.py`).

        Raises:
            InvalidInput: a setting is out of range.
        """
        for name, value, low in (
            ("vocabulary", vocabulary, BYTES + 1),
            ("layers", layers, 1),
            ("heads", heads, 1),
            ("width", width, 1),
            ("positions", positions, 2),
            ("documents", documents, 1),
        ):
            if value is not None and value < low:
                raise InvalidInput(f"model.{name} must be at least {low}, found {value}")
        if width % heads:
            raise InvalidInput(f"model.width={width} must be a multiple of model.heads={heads}")
        if not 0 <= dropout < 1:
            raise InvalidInput(f"model.dropout must lie from 0 to below 1, found {dropout:g}")
        self.vocabulary, self.layers, self.heads, self.width = vocabulary, layers, heads, width
        self.positions, self.dropout = positions, dropout
        self.documents, self.seed, self.pretraining = documents, seed, pretraining

    def directory(self) -> Path:
        """Refuses: there is no such directory before the pipeline has pre-trained the model.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput(
            "a model that is there was expected, found one that is pre-trained on the pool first; "
            "let the pipeline do that, or set model=local model.path=DIR to what it has made"
        )

    def identity(self) -> dict[str, str]:
        """Returns nothing: what it will be is decided by its settings and the pool."""
        return {}

    def begin(self, texts: Sequence[str], directory: Path) -> None:
        """Writes the untrained model: a BPE learnt from the texts, weights as GPT-2 draws them."""
        from transformers import GPT2Config, GPT2LMHeadModel

        words = byte_pairs(texts, self.vocabulary)
        end = int(words.eos_token_id)
        config = GPT2Config(
            vocab_size=len(words),
            n_positions=self.positions,
            n_embd=self.width,
            n_layer=self.layers,
            n_head=self.heads,
            embd_pdrop=self.dropout,
            resid_pdrop=self.dropout,
            attn_pdrop=self.dropout,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
        )
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            model: Any = GPT2LMHeadModel(config)
        checkpoint.save(directory, model, words)


def byte_pairs(texts: Sequence[str], vocabulary: int) -> Any:
    """Returns a tokenizer whose merges are learnt from the texts; any text comes back from it whole.

    Byte-level BPE as GPT-2 has it (Radford et al. 2019, section 2.2), `<|endoftext|>` its only
    special token, in the place of every other. Texts too few for `vocabulary` entries give fewer.
    """
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token=END,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        clean_up_tokenization_spaces=False,
    )
