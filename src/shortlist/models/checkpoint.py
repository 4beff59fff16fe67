"""Checkpoints: every stage's model is an ordinary Hugging Face directory, opened and written here.

Models and tokenizers are `Any` to the type checker, because transformers' annotations of both are
wrong in too many places (`Module.to`, `pad_token_id`).
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from shortlist.errors import InvalidInput
from shortlist.models.int8 import read_int8
from shortlist.vectors import (
    bfloat16_is_fast,
    fast_products_exact,
    fast_products_exist,
    float32_products,
)

if TYPE_CHECKING:
    from pathlib import Path

_PROBE_ROWS = 2048  # tokens of a typical batch

# It logs weights that are missing from a file, here always new heads, as warnings.
logging.getLogger("transformers.modeling_utils").setLevel(logging.ERROR)


@contextlib.contextmanager
def silenced_transformers() -> Generator[None]:
    """Silences transformers' progress bars and warnings within a context: weights that are missing
    here are meant to be new.
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


def _opened(kind: str, directory: Path, **settings: Any) -> Any:
    """Returns what a class of transformers makes of a directory, without network and without
    running code that lies there.

    Raises:
        InvalidInput: the model needs code of its own, or has another architecture than `kind`.
    """
    import transformers

    try:
        with silenced_transformers():
            return getattr(transformers, kind).from_pretrained(
                str(directory), local_files_only=True, trust_remote_code=False, **settings
            )
    except ValueError as error:
        if "Unrecognized configuration class" in str(error):
            raise InvalidInput(
                f"the model in {directory}: expected an architecture of {kind}, found another; choose "
                "another model"
            ) from error
        if "trust_remote_code" not in str(error):
            raise
        raise InvalidInput(
            f"the model in {directory} needs code of its own (`auto_map` in its configuration), which "
            "is never run; choose a model of an architecture that transformers has"
        ) from error


WEIGHTS = {"dtype": torch.float32, "use_safetensors": True}


def dequantized(gguf: Path) -> Any:
    """Returns the causal language model of a GGUF file with its weights in float32."""
    from transformers import GgufConfig

    with contextlib.redirect_stderr(io.StringIO()):  # a bar that transformers cannot switch off
        return _opened(
            "AutoModelForCausalLM",
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )


def tokenizer(directory: Path, gguf: str | None = None) -> Any:
    """Returns the tokenizer, with padding and truncation left to the caller; `gguf` is the name of
    the GGUF file that holds it.

    A tokenizer file may carry both (MiniLM's pads and cuts to 128): they are switched off, so that
    the caller's length is the length used.
    """
    loaded = _opened("AutoTokenizer", directory, **({"gguf_file": gguf} if gguf else {}))
    if getattr(loaded, "backend_tokenizer", None) is not None:
        loaded.backend_tokenizer.no_truncation()
        loaded.backend_tokenizer.no_padding()
    loaded.model_max_length = int(1e9)  # else a long text causes a warning
    if loaded.pad_token is None:
        loaded.pad_token = loaded.eos_token
    return loaded


def end_token_id(tokenizer: Any, directory: Path) -> int:
    """Returns the id of the token that ends a text.

    Raises:
        InvalidInput: the tokenizer, that of `directory`, has none.
    """
    if tokenizer.eos_token_id is None:
        raise InvalidInput(
            f"a tokenizer with an end token was expected of a causal language model, {directory} has "
            "none; set eos_token in its tokenizer_config.json"
        )
    return int(tokenizer.eos_token_id)


ADAPTER = "adapter"  # folder of trained vectors beside a model whose weights cannot hold them


def _without_adapter(directory: Path) -> None:
    """Refuses a model that predicts with vectors of prompt or prefix tuning where its weights alone
    would be read.

    Raises:
        InvalidInput: the directory holds such vectors.
    """
    if (directory / ADAPTER).is_dir():
        raise InvalidInput(
            f"a model whose weights hold what it learnt was expected, {directory} needs the vectors "
            "of its fine-tuning before its input; fine-tune it with peft lora, dora or ia3"
        )


def encoder(directory: Path) -> Any:
    """Returns the model without any head, in evaluation mode, float32.

    Raises:
        InvalidInput: it was fine-tuned by prompt or prefix tuning, or lacks weights.
    """
    _without_adapter(directory)
    return _with_base("AutoModel", directory).eval()


def _with_base(kind: str, directory: Path, **settings: Any) -> Any:
    """Returns what a class of transformers makes of a directory that holds all weights below the
    head; but for a pooler, transformers would initialise missing ones at random.

    Raises:
        InvalidInput: a weight is missing.
    """
    model, info = _opened(kind, directory, output_loading_info=True, **WEIGHTS, **settings)
    base = f"{model.base_model_prefix}." if model.base_model is not model else ""
    lost = [name for name in info["missing_keys"] if name.startswith(base) and "pooler" not in name]
    if lost:
        raise InvalidInput(
            f"all weights of a {type(model).__name__} below its head were expected in {directory}, found "
            f"no {min(lost)}, nor {len(lost) - 1} more; choose another model"
        )
    return model


DROPOUTS = {
    "hidden": (
        "hidden_dropout_prob",
        "hidden_dropout",
        "dropout",
        "resid_pdrop",
        "embd_pdrop",
        "resid_dropout",
        "embed_dropout",
    ),
    "attention": ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop"),
    "classifier": ("classifier_dropout", "seq_classif_dropout"),
}


def dropouts(
    directory: Path, wanted: Mapping[str, float | None], setting: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the entries of a model's configuration that set its dropouts, and their values now.

    Args:
        directory: directory of the model.
        wanted: dropouts by kind (`hidden`, `attention`, `classifier`); None leaves the model's own.
        setting: the group of the settings, for messages.

    Raises:
        InvalidInput: the architecture has no such dropout.
    """
    asked = {kind: share for kind, share in wanted.items() if share is not None}
    if not asked:
        return {}, {}
    config = _opened("AutoConfig", directory)
    entries: dict[str, Any] = {}
    for kind, share in asked.items():
        names = [name for name in DROPOUTS[kind] if hasattr(config, name)]
        if not names:
            raise InvalidInput(
                f"{setting}.{kind}_dropout={share:g} needs a model with {kind} dropout, "
                f"{config.model_type} has none; set {setting}.{kind}_dropout=null"
            )
        entries |= dict.fromkeys(names, share)
    return entries, {name: getattr(config, name) for name in entries}


def has_dropout(model: Any) -> bool:
    """Returns whether two passes of a model in training mode differ."""
    layers = (part for part in model.modules() if isinstance(part, torch.nn.Dropout))
    return any(layer.p > 0 for layer in layers) or any(
        getattr(model.config, name, None) for name in DROPOUTS["attention"]
    )


def masked_lm(directory: Path, *, new_head: bool = False, **config: Any) -> Any:
    """Returns the model with its masked-LM head, decoder tied to the word embeddings, float32.

    Args:
        directory: directory of the checkpoint.
        new_head: whether the weights may lack the head, which is then initialised at random.
        config: entries of the configuration that differ from the stored ones.

    Raises:
        InvalidInput: they lack it and `new_head` is false.
    """
    return _with_lm_head(directory, "AutoModelForMaskedLM", "masked-LM", new_head, **config)


def causal_lm(directory: Path, **config: Any) -> Any:
    """Returns the model with its causal-LM head, float32; `config` as in `masked_lm`.

    Raises:
        InvalidInput: the weights lack the head.
    """
    return _with_lm_head(directory, "AutoModelForCausalLM", "causal-LM", new_head=False, **config)


def _with_lm_head(directory: Path, kind: str, head: str, new_head: bool, **config: Any) -> Any:
    """Returns a model with the head that predicts tokens. transformers would initialise a missing
    head at random, and its losses and gradients would mean nothing.
    """
    _without_adapter(directory)
    model, info = _opened(kind, directory, output_loading_info=True, **WEIGHTS, **config)
    if info["missing_keys"] and not new_head:
        raise InvalidInput(
            f"a model with a trained {head} head was expected, {directory} lacks "
            f"{min(info['missing_keys'])} and {len(info['missing_keys']) - 1} more weights; choose "
            "another model; an encoder's head can be trained first (model.head, as model=minilm has it)"
        )
    return model


def lm_head(model: Any) -> Any:
    """Returns the module that turns hidden states into logits (BERT's `cls`, RoBERTa's `lm_head`),
    or None.
    """
    return getattr(model, "cls", None) or getattr(model, "lm_head", None)


def classifier(
    directory: Path,
    outputs: int,
    *,
    regression: bool = False,
    kind: str = "AutoModelForSequenceClassification",
    **config: Any,
) -> Any:
    """Returns the model with a new classification head (or regression head, one output), float32,
    and with the vectors of prompt or prefix tuning that lie beside it; `config` as in `masked_lm`,
    `kind` a class of transformers.

    The head is initialised from torch's global generator: seed it first.
    """
    problem = "regression" if regression else "single_label_classification"
    named = {"num_labels": outputs, "problem_type": problem, **config}
    stored = _opened("AutoConfig", directory, **named)
    if (directory / INT8).is_file():
        return read_int8(_untrained(kind, stored), directory / INT8)
    if hasattr(stored, KEPT_HEADS):
        return _with_kept_heads(_untrained(kind, stored), directory)
    model = _with_base(kind, directory, **named)
    if not (directory / ADAPTER).is_dir():
        return model
    from peft import PeftModelForFeatureExtraction

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, caused by peft
        return PeftModelForFeatureExtraction.from_pretrained(
            model, str(directory / ADAPTER), trust_remote_code=False
        )


def outline(
    directory: Path, kind: str = "AutoModelForSequenceClassification", **config: Any
) -> Any:
    """Returns the model that a directory describes, by default a classifier, without weights, for
    checks of its parts; `kind` is a class of transformers, `config` as in `masked_lm`.
    """
    with torch.device("meta"):
        return _untrained(kind, _opened("AutoConfig", directory, num_labels=2, **config))


INT8 = "model.int8.safetensors"  # weights of eight bits in place of `model.safetensors`
KEPT_HEADS = (
    "kept_attention_heads"  # entry of the configuration: heads a layer that pruning has left
)


def narrow_attention(attention: Any, heads: int) -> None:
    """Sets the number of heads of a BERT's attention whose matrices have that many."""
    attention.num_attention_heads = heads
    attention.all_head_size = heads * int(attention.attention_head_size)


def _untrained(kind: str, config: Any) -> Any:
    """Returns a model of a configuration with any weights, also of one that has `KEPT_HEADS`."""
    import transformers

    with silenced_transformers():
        model: Any = getattr(transformers, kind).from_config(config, dtype=torch.float32)
    heads = int(getattr(config, KEPT_HEADS, 0))
    stack: Any = layers_of(model) or ()
    for layer in stack if heads else ():
        attention, context = layer.attention.self, layer.attention.output
        width, states = heads * int(attention.attention_head_size), int(config.hidden_size)
        for name in ("query", "key", "value"):
            setattr(attention, name, torch.nn.Linear(states, width))
        context.dense = torch.nn.Linear(width, states)
        narrow_attention(attention, heads)
    return model


def _with_kept_heads(model: Any, directory: Path) -> Any:
    """Returns the model of which `models.shrinking.keep_heads` has removed heads, with its weights.

    Raises:
        InvalidInput: the weights are not those of the configuration.
    """
    try:
        model.load_state_dict(load_file(directory / "model.safetensors"))
    except RuntimeError as error:
        raise InvalidInput(
            f"the weights in {directory} are not those of its configuration with {KEPT_HEADS}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    return model.eval()


def save(directory: Path, model: Any, tokenizer: Any) -> None:
    """Writes weights (float32, safetensors), configuration and tokenizer; of a model of prompt or
    prefix tuning its vectors beside them, in the folder `ADAPTER`.
    """
    with silenced_transformers():
        tokenizer.save_pretrained(str(directory))
        if hasattr(model, "prompt_encoder"):
            from peft import get_peft_model_state_dict

            config = copy.copy(model.active_peft_config)
            config.base_model_name_or_path = None  # a path of this machine
            config.save_pretrained(str(directory / ADAPTER))
            vectors = get_peft_model_state_dict(model)
            save_file(vectors, directory / ADAPTER / "adapter_model.safetensors")
            model = model.get_base_model()
        model.to(dtype=torch.float32).save_pretrained(str(directory))


def positions_of(model: Any) -> int | None:
    """Returns the model's number of positions, or None where its configuration states none."""
    return getattr(model.config, "max_position_embeddings", None) or getattr(
        model.config, "n_positions", None
    )


def check_length(model: Any, max_length: int, setting: str, before: int = 0) -> int:
    """Returns `max_length` if the model has that many positions, after `before` others.

    Raises:
        InvalidInput: it has fewer; the message names `setting`.
    """
    positions = positions_of(model)
    if positions is not None and max_length + before > positions:
        used = f", {before} of which peft takes" if before else ""
        raise InvalidInput(
            f"{setting}={max_length} exceeds the model's {positions} positions{used}; set "
            f"{setting}={positions - before}"
        )
    return max_length


def precision(wanted: str | int, device: torch.device) -> str:
    """Returns `32` or `bf16`: `wanted`, or for `auto` bfloat16 where the hardware multiplies it
    faster than float32. The returned value enters keys, not the word `auto`.

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


def fast_products(device: torch.device, width: int) -> contextlib.AbstractContextManager[Any]:
    """Returns a context in which float32 products of width x width go through oneDNN, where a probe
    against float64 finds its kernel as exact as the default one; elsewhere one without effect.

    On an AMD processor without matrix units it is some 1.7 times as fast.
    """
    if fast_products_exist(device, torch.float32) and fast_products_exact(
        _PROBE_ROWS, width, width
    ):
        return float32_products(fast=True)
    return contextlib.nullcontext()


def layers_of(model: Any) -> torch.nn.ModuleList | None:
    """Returns the list of a model's layers: the first one of its base that is as long as the
    configuration says; None where there is none.
    """
    total = int(model.config.num_hidden_layers)
    lists = (part for part in model.base_model.modules() if isinstance(part, torch.nn.ModuleList))
    return next((part for part in lists if len(part) == total), None)


def last_matrices(model: Any, layers: int, setting: str) -> dict[str, Any]:
    """Returns the modules with a weight matrix in the model's last `layers` layers, by name.

    Raises:
        InvalidInput: the model has fewer layers, or no list of layers; the message names `setting`.
    """
    total = int(model.config.num_hidden_layers)
    if not 1 <= layers <= total:
        raise InvalidInput(
            f"{setting} must lie between 1 and {total} in this model, found {layers}"
        )
    stack = layers_of(model)
    if stack is None:
        raise InvalidInput(
            f"a list of {total} layers was expected in {type(model).__name__}, found none; choose "
            "another featurizer.model"
        )
    name = next(name for name, module in model.named_modules() if module is stack)
    return {
        f"{name}.{layer}.{inner}": module
        for layer in range(total - layers, total)
        for inner, module in stack[layer].named_modules()
        if multiplies(module)
    }


def multiplies(module: Any) -> bool:
    """Returns whether the module multiplies by a weight matrix."""
    return isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"


def is_transposed(module: Any) -> bool:
    """Returns whether the module's weight is (in, out), as in GPT-2's `Conv1D`."""
    return not isinstance(module, torch.nn.Linear)


@contextlib.contextmanager
def gradients_of(model: Any, modules: Mapping[str, Any]) -> Generator[None]:
    """Requires gradients of these modules' weights and of no other parameter within a context; the
    layers before them then run without a graph.
    """
    model.requires_grad_(False)
    for module in modules.values():
        module.weight.requires_grad_(True)
    try:
        yield
    finally:
        model.requires_grad_(False)


@contextlib.contextmanager
def activations(
    modules: Mapping[str, Any],
) -> Generator[dict[str, tuple[torch.Tensor, torch.Tensor]]]:
    """Yields a mapping that a forward pass fills with each module's (input, output)."""
    recorded: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def hook_of(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: torch.Tensor) -> None:
            recorded[name] = (inputs[0].detach(), output)

        return hook

    handles = [module.register_forward_hook(hook_of(name)) for name, module in modules.items()]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()
