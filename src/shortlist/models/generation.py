"""Continuations of prompts by a causal language model, the same whatever the batch and the order."""

from __future__ import annotations

import inspect
import logging
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from shortlist import progress
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.nucleus import levels, pick
from shortlist.models.tokens import tokenize
from shortlist.stats.sampling import uniform
from shortlist.store.atomic import fsync
from shortlist.store.cache import unfinished

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.progress import Report
    from shortlist.runtime import Runtime

log = logging.getLogger(__name__)

VERSION = 1  # raised when the same settings would give other texts
FILE = "continuations.parquet"
SHARD = 256  # prompts: what a kill costs
KEY = 20240515  # arbitrary and fixed: a cell's seed means other numbers here than elsewhere

_TYPES = {"32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_SCHEMA = pa.schema(
    {
        "prompt": pa.string(),
        "number": pa.int32(),
        "text": pa.string(),
        "tokens": pa.list_(pa.int32()),
        "ended": pa.bool_(),
    }
)


@dataclass(frozen=True)
class Sampling:
    """What is asked of the model.

    Attributes:
        continuations: texts a prompt.
        tokens: at most so many a text; fewer where the model ends it.
        top_p: share of the nucleus, see `numerics.nucleus`.
        temperature: logits are divided by it.

    Raises:
        InvalidInput: one is out of its range.
    """

    continuations: int
    tokens: int
    top_p: float
    temperature: float

    def __post_init__(self) -> None:
        for name in ("continuations", "tokens"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} must be at least 1, found {getattr(self, name)}")
        if not 0 < self.top_p <= 1:
            raise InvalidInput(f"top_p must lie above 0 and at most at 1, found {self.top_p}")
        if not self.temperature > 0:
            raise InvalidInput(
                f"temperature must be above 0, found {self.temperature}; for the most likely tokens "
                "set top_p=1e-9"
            )


def precision(wanted: str | int, device: torch.device) -> str:
    """Returns `32`, `bf16` or `fp16`: what `auto` means on this device, or what was asked for.

    `auto` is float32 on a CPU, and on a GPU bf16, or fp16 where it has none.

    Raises:
        InvalidInput: `wanted` is none of auto, 32, bf16, fp16; or fp16 on a CPU.
    """
    wanted = str(wanted)  # `precision=32` on a command line is a number
    if wanted not in {"auto", *_TYPES}:
        raise InvalidInput(f"precision must be auto, 32, bf16 or fp16, found {wanted!r}")
    if wanted == "fp16" and device.type == "cpu":
        raise InvalidInput("precision=fp16 needs a GPU, found a CPU; set precision=32 or auto")
    if wanted != "auto":
        return wanted
    if device.type == "cpu":
        return "32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def uniforms(
    id_words: NDArray[np.uint64], continuations: int, tokens: int, levels: int, seed: int
) -> NDArray[np.float64]:
    """Returns (n, continuations, tokens, levels) numbers in (0, 1), each a function of (seed, id of
    the prompt, number of the continuation, step, level) alone.
    """
    numbers = np.arange(continuations, dtype=np.uint64)[:, None, None] << np.uint64(32)
    steps = np.arange(1, tokens + 1, dtype=np.uint64)[:, None] << np.uint64(6)
    places = numbers + steps + np.arange(levels, dtype=np.uint64)
    with np.errstate(over="ignore"):
        entropy = id_words[:, None, None, None] + places * np.uint64(0xD1342543DE82EF95)
        key = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(KEY)
    return uniform(entropy, int(key))


class Writer:
    """A causal language model that is open for continuing prompts, in evaluation mode."""

    def __init__(
        self, directory: Path, sampling: Sampling, precision: str, device: torch.device
    ) -> None:
        """Opens the model and the tokenizer in `directory`.

        Args:
            directory: as transformers writes it.
            sampling: what is asked of it.
            precision: `32`, `bf16` or `fp16`: of the weights and of the computation; a token is drawn
                from logits in float32.
            device: where.

        Raises:
            InvalidInput: the model fills in masks, or has no room for a prompt.
        """
        self.words: Any = checkpoint.tokenizer(directory)
        if self.words.mask_token_id is not None or self.words.eos_token_id is None:
            raise InvalidInput(
                "a causal language model with an end token was expected to continue prompts, "
                f"{directory} holds another kind; choose model=gpt2 or another decoder"
            )
        model = checkpoint.causal_lm(directory)
        self.model: Any = model.eval().to(device=device, dtype=_TYPES[precision])
        self.sampling, self.device = sampling, device
        self.end = int(self.words.eos_token_id)
        self.levels = levels(int(self.model.get_output_embeddings().weight.shape[0]))
        self.takes = set(inspect.signature(self.model.forward).parameters)
        context = getattr(self.model.config, "max_position_embeddings", None)
        self.room = None if context is None else int(context) - sampling.tokens
        if self.room is not None and self.room < 1:
            raise InvalidInput(
                f"the model has {context} positions, expected more than tokens={sampling.tokens} of a "
                "continuation; set tokens lower"
            )

    def read(self, prompts: Corpus) -> tuple[list[NDArray[np.int64]], dict[str, int]]:
        """Returns the tokens of each prompt, and what is to be counted.

        A prompt longer than the context less a continuation is cut on the left; one without a token
        is an end token: the model begins a text.
        """
        ids = tokenize(self.words, prompts.texts, None, None).ids
        cut = sum(self.room is not None and len(row) > self.room for row in ids)
        start = np.array([self.end])
        kept = [row[-self.room :] if self.room else row for row in ids]
        counts = {"cut_prompts": cut, "prompts_without_tokens": sum(not len(row) for row in ids)}
        return [row if len(row) else start for row in kept], counts

    @torch.inference_mode()
    def write(
        self, prompts: list[NDArray[np.int64]], drawn: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Returns (b, continuations, steps) tokens; behind an end token there are only end tokens.

        The prompts are read once, padded on the left; their keys and values are then repeated for
        the continuations. Positions count from a prompt's own first token.

        Args:
            prompts: b arrays of tokens.
            drawn: (b, continuations, tokens, levels) from `uniforms`.

        Raises:
            InvalidInput: the logits are not finite.
        """
        many, device = self.sampling.continuations, self.device
        width = max(len(row) for row in prompts)
        ids = torch.full((len(prompts), width), self.end)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(prompts):
            ids[row, width - len(tokens) :] = torch.from_numpy(tokens)
            mask[row, width - len(tokens) :] = 1
        ids, mask = ids.to(device), mask.to(device)
        logits, past = self._forward(ids, mask, (mask.cumsum(1) - 1).clamp(min=0), None)
        past.batch_repeat_interleave(many)
        logits, mask = (values.repeat_interleave(many, 0) for values in (logits, mask))
        points = torch.from_numpy(drawn.reshape(len(logits), *drawn.shape[2:])).to(device)
        position = mask.sum(1, keepdim=True)
        one = torch.ones_like(position)
        ended = torch.zeros(len(logits), dtype=torch.bool, device=device)
        found: list[torch.Tensor] = []
        for step in range(self.sampling.tokens):
            token = pick(logits, points[:, step], self.sampling.top_p, self.sampling.temperature)
            token = token.masked_fill(ended, self.end)
            found.append(token)
            ended |= token == self.end
            if step + 1 == self.sampling.tokens or bool(ended.all()):
                break
            mask = torch.cat([mask, one], 1)
            logits, past = self._forward(token[:, None], mask, position + step, past)
        return torch.stack(found, 1).reshape(len(prompts), many, -1).cpu().numpy()

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, past: Any
    ) -> tuple[torch.Tensor, Any]:
        """Returns the (r, v) float32 logits behind the last token, and keys and values."""
        inputs = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": positions,
            "past_key_values": past,
            "logits_to_keep": 1,
        }
        given = {name: value for name, value in inputs.items() if name in self.takes}
        out = self.model(**given, use_cache=True)
        logits = out.logits[:, -1].float()
        if not bool(logits.amax(1).isfinite().all()):
            raise InvalidInput(
                "finite logits were expected of the language model, found NaN or infinity; set "
                "precision=32, or look at how the model was trained"
            )
        return logits, out.past_key_values

    def table(
        self, prompts: Corpus, ids: list[NDArray[np.int64]], seed: int, batch: int, report: Report
    ) -> pa.Table:
        """Returns the continuations of the prompts in their order, computed in batches of `batch`
        prompts of similar length, the longest first.
        """
        many = self.sampling.continuations
        words = prompts.id_words()
        order = np.argsort([-len(row) for row in ids], kind="stable")
        found: list[list[NDArray[np.int64]]] = [[] for _ in ids]
        ended = np.zeros((len(ids), many), dtype=bool)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            drawn = uniforms(words[rows], many, self.sampling.tokens, self.levels, seed)
            for row, texts in zip(rows, self.write([ids[row] for row in rows], drawn), strict=True):
                ended[row] = (texts == self.end).any(1)
                found[row] = [text[text != self.end] for text in texts]
            report(len(rows) * many)
        tokens = [text for texts in found for text in texts]
        texts = self.words.batch_decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        columns = {
            "prompt": [name for name in prompts.ids for _ in range(many)],
            "number": list(range(many)) * len(ids),
            "text": texts,
            "tokens": tokens,
            "ended": ended.reshape(-1),
        }
        return pa.table(columns, schema=_SCHEMA)


def generate(
    writer: Writer, prompts: Corpus, seed: int, batch: int, directory: Path, runtime: Runtime
) -> dict[str, int]:
    """Writes the continuations of all prompts and returns what was counted.

    They lie in `directory/continuations.parquet`, in the order of the prompts' ids: column `prompt`
    (id), `number` (0 to continuations - 1), `text`, `tokens` (without the end token) and `ended`
    (whether the model ended the text). A text that the model ended at once is empty and stays.

    A token depends on model, prompt and its own random numbers. Batch and order of the prompts enter
    through the rounding of float32 sums alone: a draw comes out otherwise about twice in 10^6, one
    continuation of 20 tokens in 25,000 (a GPT-2 of 4 layers; see `numerics.nucleus.pick`). bf16 and
    fp16 round some 10^4 times more coarsely, so that there the batch belongs into the key. A run
    that goes on after a kill has the batches, and the bytes, of an undisturbed one: shards are
    consecutive ids, and a shard is written as a whole.

    Args:
        writer: the model.
        prompts: their texts are continued.
        seed: of the random numbers.
        batch: prompts at once.
        directory: of the stage; shards lie beside it until all are there (`store.cache.unfinished`).
        runtime: the machine.
    """
    prompts, many = prompts.canonical(), writer.sampling.continuations
    ids, counts = writer.read(prompts)
    folder = unfinished(directory)
    folder.mkdir(exist_ok=True)
    shards = [np.arange(at, min(at + SHARD, len(ids))) for at in range(0, len(ids), SHARD)]
    paths = [folder / f"{rows[0]:09d}.parquet" for rows in shards]
    left = [number for number, path in enumerate(paths) if not path.exists()]
    to_do = sum(len(shards[number]) for number in left) * many
    if to_do < len(ids) * many:
        log.info("continuations: going on, %s are done", f"{len(ids) * many - to_do:,}")
    with progress.bar("continuations", to_do, "continuations", show=runtime.progress) as report:
        for number in left:
            rows = shards[number]
            chosen = [ids[row] for row in rows]
            part = writer.table(prompts.take(rows), chosen, seed, batch, report)
            temporary = paths[number].with_suffix(".partial")
            pq.write_table(part, temporary)
            fsync(temporary)  # or a power cut could leave the name without the bytes
            temporary.replace(paths[number])
    with pq.ParquetWriter(directory / FILE, _SCHEMA) as file:
        for path in paths:
            file.write_table(pq.read_table(path))
    shutil.rmtree(folder)
    made = load(directory)
    return counts | {
        "prompts": len(ids),
        "continuations": made.tokens.size,
        "ended": made.ended,
        "without_tokens": int((made.tokens == 0).sum()),
    }


@dataclass(frozen=True)
class Continuations:
    """What a model wrote, prompt by prompt.

    Attributes:
        prompts: m ids, sorted.
        texts: m lists of k texts.
        tokens: (m, k) number of tokens of each, the end token left out.
        ended: how many the model ended.
    """

    prompts: list[str]
    texts: list[list[str]]
    tokens: NDArray[np.int64]
    ended: int


def load(directory: Path) -> Continuations:
    """Returns what `generate` wrote into `directory`."""
    table = pq.read_table(directory / FILE)
    names: list[str] = table["prompt"].to_pylist()
    texts: list[str] = table["text"].to_pylist()
    lengths: Any = [part.value_lengths() for part in table["tokens"].chunks]
    many = max(table["number"].to_pylist()) + 1
    return Continuations(
        prompts=names[::many],
        texts=[texts[at : at + many] for at in range(0, len(texts), many)],
        tokens=np.concatenate(lengths).astype(np.int64).reshape(-1, many),
        ended=sum(table["ended"].to_pylist()),
    )
