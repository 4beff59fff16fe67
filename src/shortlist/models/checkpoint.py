"""Opening and writing checkpoints: every stage's model is an ordinary Hugging Face directory.

Models and tokenizers are `Any` to the type checker: transformers' annotations of both are wrong in
too many places (`Module.to`, `pad_token_id`) to be of use.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

import torch

from shortlist.errors import InvalidInput
from shortlist.vectors import bfloat16_is_fast

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Silences transformers' loading bars and its report of new weights: what is new here is meant
    to be.
    """
    from transformers.utils import logging as hub_logging

    level, bars = hub_logging.get_verbosity(), hub_logging.is_progress_bar_enabled()
    hub_logging.set_verbosity_error()
    hub_logging.disable_progress_bar()
    try:
        yield
    finally:
        hub_logging.set_verbosity(level)
        if bars:
            hub_logging.enable_progress_bar()


def tokenizer(directory: Path) -> Any:
    """Returns the tokenizer, with padding and truncation left to the caller.

    A tokenizer file may carry both (MiniLM's pads and cuts to 128): they are switched off, so that
    the length asked for is the length used.
    """
    from transformers import AutoTokenizer

    with _quiet():
        loaded: Any = AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
    if getattr(loaded, "backend_tokenizer", None) is not None:
        loaded.backend_tokenizer.no_truncation()
        loaded.backend_tokenizer.no_padding()
    loaded.model_max_length = int(1e9)  # else a long text only earns a warning
    if loaded.pad_token is None:
        loaded.pad_token = loaded.eos_token
    return loaded


def end_of(words: Any, directory: Path) -> int:
    """Returns the id of the token that ends a text.

    Raises:
        InvalidInput: the tokenizer, that of `directory`, has none.
    """
    if words.eos_token_id is None:
        raise InvalidInput(
            f"a tokenizer with an end token was expected of a causal language model, {directory} has "
            "none; set eos_token in its tokenizer_config.json"
        )
    return int(words.eos_token_id)


def encoder(directory: Path) -> Any:
    """Returns the model without any head, in evaluation mode, float32."""
    from transformers import AutoModel

    with _quiet():
        return AutoModel.from_pretrained(
            str(directory), local_files_only=True, dtype=torch.float32
        ).eval()


def masked_lm(directory: Path, *, bare: bool = False) -> Any:
    """Returns the model with its masked-LM head, decoder tied to the word embeddings, float32.

    Args:
        directory: where it is.
        bare: whether the weights may lack the head, which is then drawn at random to be trained.

    Raises:
        InvalidInput: they lack it all the same.
    """
    return _headed(directory, "AutoModelForMaskedLM", "masked-LM", bare)


def causal_lm(directory: Path) -> Any:
    """Returns the model with its causal-LM head, float32.

    Raises:
        InvalidInput: the weights lack it.
    """
    return _headed(directory, "AutoModelForCausalLM", "causal-LM", bare=False)


def _headed(directory: Path, kind: str, head: str, bare: bool) -> Any:
    """Returns a model with the head that predicts tokens; transformers would fill one that is not
    there with random numbers, whose losses and gradients mean nothing.
    """
    import transformers

    with _quiet():
        model, info = getattr(transformers, kind).from_pretrained(
            str(directory), local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    if info["missing_keys"] and not bare:
        raise InvalidInput(
            f"a model with a trained {head} head was expected, {directory} lacks "
            f"{min(info['missing_keys'])} and {len(info['missing_keys']) - 1} more weights; choose "
            "another model; an encoder's head can be trained first (model.head, as model=minilm has it)"
        )
    return model


def classifier(directory: Path, outputs: int, *, regression: bool = False) -> Any:
    """Returns the model with a new classification (or, one output, regression) head, float32.

    The head is drawn from torch's global generator: seed it first.
    """
    from transformers import AutoModelForSequenceClassification

    with _quiet():
        return AutoModelForSequenceClassification.from_pretrained(
            str(directory),
            local_files_only=True,
            dtype=torch.float32,
            num_labels=outputs,
            problem_type="regression" if regression else "single_label_classification",
        )


def save(directory: Path, model: Any, words: Any) -> None:
    """Writes weights (safetensors), configuration and tokenizer as a directory that transformers
    opens.
    """
    with _quiet():
        model.to(dtype=torch.float32).save_pretrained(str(directory))
        words.save_pretrained(str(directory))


def positions_of(model: Any) -> int | None:
    """Returns how many positions the model has, or None where it does not say."""
    return getattr(model.config, "max_position_embeddings", None) or getattr(
        model.config, "n_positions", None
    )


def fits(model: Any, max_length: int, setting: str) -> int:
    """Returns `max_length` if the model has that many positions.

    Raises:
        InvalidInput: it has fewer; the message names `setting`.
    """
    positions = positions_of(model)
    if positions is not None and max_length > positions:
        raise InvalidInput(
            f"{setting}={max_length} exceeds the model's {positions} positions; set {setting}={positions}"
        )
    return max_length


def precision(wanted: str | int, device: torch.device) -> str:
    """Returns `32` or `bf16`: what `auto` means on this device, or what was asked for.

    bfloat16 is taken where the hardware multiplies it faster than float32. The answer, not the
    word `auto`, goes into the keys.

    Raises:
        InvalidInput: `wanted` is none of auto, 32, bf16.
    """
    wanted = str(wanted)  # `precision=32` on a command line is a number
    if wanted not in {"auto", "32", "bf16"}:
        raise InvalidInput(f"precision must be auto, 32 or bf16, found {wanted!r}")
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "32"
    return "bf16" if bfloat16_is_fast() else "32"


logging.getLogger("transformers.modeling_utils").setLevel(logging.ERROR)
