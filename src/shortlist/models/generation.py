"""Continuations of prompts by a causal language model, independent of batch size and order.

The loop is written here and `transformers.generate` is not used, because that draws tokens from
torch's global generator in the order of the batch: a continuation would depend on the other
prompts. Here every draw has random numbers of its own, a hash of seed, prompt, continuation and
step, and tokens are drawn by bisection, which rounding hardly ever changes (`draw_tokens`).
"""

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
from shortlist.models.tokens import tokenize
from shortlist.stats.sampling import uniform
from shortlist.store.atomic import fsync, is_sealed, seal
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
SHARD = 256  # prompts: the work that an interruption costs at most
KEY = 20240515  # arbitrary and fixed: a cell's seed means other numbers here than elsewhere
WIDTH = 512  # most likely tokens that are looked at first: they nearly always hold the nucleus

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
    """Number, length and distribution of the continuations.

    Attributes:
        continuations: texts a prompt.
        tokens: largest number of tokens of a text; fewer where the model ends it.
        top_p: probability of the nucleus, see `nucleus`.
        temperature: divisor of the logits.

    Raises:
        InvalidInput: a setting is out of range.
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


def weight_precision(wanted: str | int, device: torch.device) -> str:
    """Returns `32`, `bf16` or `fp16`: `wanted`, or for `auto` float32 on a CPU and on a GPU bf16
    where it is native, else fp16.

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
    id_bits: NDArray[np.uint64], continuations: int, tokens: int, levels: int, seed: int
) -> NDArray[np.float64]:
    """Returns (n, continuations, tokens, levels) numbers in (0, 1), each a function of (seed, id of
    the prompt, number of the continuation, step, level of `draw_tokens`) alone.

    Args:
        id_bits: (n,) 64 bits of the prompts' ids.
        continuations: texts a prompt.
        tokens: steps of a text.
        levels: numbers a draw, `bisections(vocabulary)`.
        seed: seed of the cell.
    """
    numbers = np.arange(continuations, dtype=np.uint64)[:, None, None] << np.uint64(32)
    steps = np.arange(1, tokens + 1, dtype=np.uint64)[:, None] << np.uint64(6)
    places = numbers + steps + np.arange(levels, dtype=np.uint64)
    with np.errstate(over="ignore"):
        entropy = id_bits[:, None, None, None] + places * np.uint64(0xD1342543DE82EF95)
        key = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(KEY)
    return uniform(entropy, int(key))


class Writer:
    """A causal language model in memory that continues prompts, in evaluation mode."""

    def __init__(
        self, directory: Path, sampling: Sampling, precision: str, device: torch.device
    ) -> None:
        """Opens the model and the tokenizer in `directory`.

        Args:
            directory: as transformers writes it.
            sampling: number, length and distribution of the continuations.
            precision: `32`, `bf16` or `fp16`, of weights and computation; tokens are drawn from
                logits in float32.
            device: where the model runs.

        Raises:
            InvalidInput: it is a masked language model, has no end token, or has too few positions
                for a prompt.
        """
        self.tokenizer: Any = checkpoint.tokenizer(directory)
        if self.tokenizer.mask_token_id is not None or self.tokenizer.eos_token_id is None:
            raise InvalidInput(
                "a causal language model with an end token was expected to continue prompts, "
                f"{directory} holds another kind; choose model=gpt2 or another decoder"
            )
        model = checkpoint.causal_lm(directory)
        self._hold(model.eval().to(device=device, dtype=_TYPES[precision]), sampling, device)

    @classmethod
    def of(cls, model: Any, tokenizer: Any, sampling: Sampling, device: torch.device) -> Writer:
        """Returns a writer of a model in memory, in evaluation mode on `device`.

        Raises:
            InvalidInput: it has too few positions for a prompt.
        """
        writer = cls.__new__(cls)
        writer.tokenizer = tokenizer
        writer._hold(model, sampling, device)
        return writer

    def _hold(self, model: Any, sampling: Sampling, device: torch.device) -> None:
        self.model: Any = model
        self.sampling, self.device = sampling, device
        self.end = int(self.tokenizer.eos_token_id)
        self.levels = bisections(int(self.model.get_output_embeddings().weight.shape[0]))
        self.arguments = set(inspect.signature(self.model.forward).parameters)
        context = getattr(self.model.config, "max_position_embeddings", None)
        self.longest_prompt = None if context is None else int(context) - sampling.tokens
        if self.longest_prompt is not None and self.longest_prompt < 1:
            raise InvalidInput(
                f"the model has {context} positions, expected more than tokens={sampling.tokens} of a "
                "continuation; set tokens lower"
            )

    def read(self, prompts: Corpus) -> tuple[list[NDArray[np.int64]], dict[str, int]]:
        """Returns the tokens of each prompt, and the numbers of prompts that were cut or were
        empty.

        A prompt longer than the context less a continuation loses its beginning; one without tokens
        becomes an end token, after which the model begins a text.
        """
        ids = tokenize(self.tokenizer, prompts.texts, None, None).ids
        most = self.longest_prompt
        cut = sum(most is not None and len(row) > most for row in ids)
        start = np.array([self.end])
        kept = [row[-most:] if most else row for row in ids]
        counts = {"cut_prompts": cut, "prompts_without_tokens": sum(not len(row) for row in ids)}
        return [row if len(row) else start for row in kept], counts

    @torch.inference_mode()
    def write(
        self, prompts: list[NDArray[np.int64]], drawn: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Returns (b, continuations, steps) token ids; only end tokens follow an end token.

        The prompts are read once, padded on the left; their keys and values are then repeated for
        the continuations. Positions count from the first token of each prompt.

        Args:
            prompts: b arrays of token ids.
            drawn: (b, continuations, tokens, levels) from `uniforms`.

        Raises:
            InvalidInput: the logits are not finite.
        """
        continuations, device = self.sampling.continuations, self.device
        width = max(len(row) for row in prompts)
        ids = torch.full((len(prompts), width), self.end)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(prompts):
            ids[row, width - len(tokens) :] = torch.from_numpy(tokens)
            mask[row, width - len(tokens) :] = 1
        ids, mask = ids.to(device), mask.to(device)
        logits, past = self._forward(ids, mask, (mask.cumsum(1) - 1).clamp(min=0), None)
        past.batch_repeat_interleave(continuations)
        logits, mask = (values.repeat_interleave(continuations, 0) for values in (logits, mask))
        points = torch.from_numpy(drawn.reshape(len(logits), *drawn.shape[2:])).to(device)
        position = mask.sum(1, keepdim=True)
        one = torch.ones_like(position)
        ended = torch.zeros(len(logits), dtype=torch.bool, device=device)
        written: list[torch.Tensor] = []
        for step in range(self.sampling.tokens):
            token = draw_tokens(
                logits, points[:, step], self.sampling.top_p, self.sampling.temperature
            )
            token = token.masked_fill(ended, self.end)
            written.append(token)
            ended |= token == self.end
            if step + 1 == self.sampling.tokens or bool(ended.all()):
                break
            mask = torch.cat([mask, one], 1)
            logits, past = self._forward(token[:, None], mask, position + step, past)
        return torch.stack(written, 1).reshape(len(prompts), continuations, -1).cpu().numpy()

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, past: Any
    ) -> tuple[torch.Tensor, Any]:
        """Returns the (r, v) float32 logits after the last token, and keys and values."""
        inputs = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": positions,
            "past_key_values": past,
            "logits_to_keep": 1,
        }
        given = {name: value for name, value in inputs.items() if name in self.arguments}
        out = self.model(**given, use_cache=True)
        logits = out.logits[:, -1].float()
        if not bool(logits.amax(1).isfinite().all()):
            raise InvalidInput(
                "finite logits were expected of the language model, found NaN or infinity; set "
                "precision=32, or check the training of the model"
            )
        return logits, out.past_key_values

    def table(
        self, prompts: Corpus, ids: list[NDArray[np.int64]], seed: int, batch: int, report: Report
    ) -> pa.Table:
        """Returns the continuations of the prompts in the order of the prompts, computed in batches
        of `batch` prompts of similar length, the longest first.
        """
        many = self.sampling.continuations
        id_bits = prompts.id_bits()
        order = np.argsort([-len(row) for row in ids], kind="stable")
        written: list[list[NDArray[np.int64]]] = [[] for _ in ids]
        ended = np.zeros((len(ids), many), dtype=bool)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            drawn = uniforms(id_bits[rows], many, self.sampling.tokens, self.levels, seed)
            for row, texts in zip(rows, self.write([ids[row] for row in rows], drawn), strict=True):
                ended[row] = (texts == self.end).any(1)
                written[row] = [text[text != self.end] for text in texts]
            report(len(rows) * many)
        tokens = [text for texts in written for text in texts]
        texts = self.tokenizer.batch_decode(
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
    """Writes the continuations of all prompts and returns the numbers of prompts, continuations,
    ended and empty texts.

    They are written to `directory/continuations.parquet`, in the order of the prompts' ids: columns
    `prompt` (id), `number` (0 to continuations - 1), `text`, `tokens` (without the end token) and
    `ended` (whether the model ended the text). A text that the model ended at once is empty and is
    kept.

    A token depends on the model, the prompt and the token's own random numbers. Batch and order of
    the prompts act through the rounding of float32 sums alone: they change about 2 draws in 10^6,
    one continuation of 20 tokens in 25,000 (a GPT-2 of 4 layers; see `draw_tokens`). bf16 and fp16
    round some 10^4 times more coarsely, so that there the batch size is part of the key. A run that
    continues after an interruption has the batches, and the bytes, of an uninterrupted one: shards
    are consecutive ids, and a shard is written as a whole.

    Args:
        writer: the model.
        prompts: the texts that are continued.
        seed: seed of the random numbers.
        batch: prompts a batch.
        directory: directory of the stage; shards are kept beside it until all are complete
            (`store.cache.unfinished`).
        runtime: the machine.
    """
    prompts, many = prompts.canonical(), writer.sampling.continuations
    ids, counts = writer.read(prompts)
    folder = unfinished(directory)
    folder.mkdir(exist_ok=True)
    shards = [np.arange(at, min(at + SHARD, len(ids))) for at in range(0, len(ids), SHARD)]
    paths = [folder / f"{rows[0]:09d}.parquet" for rows in shards]
    left = [number for number, path in enumerate(paths) if not is_sealed(path)]
    to_do = sum(len(shards[number]) for number in left) * many
    if to_do < len(ids) * many:
        log.info("continuations: resuming, %s are done", f"{len(ids) * many - to_do:,}")
    with progress.bar("continuations", to_do, "continuations", show=runtime.progress) as report:
        for number in left:
            rows = shards[number]
            chosen = [ids[row] for row in rows]
            part = writer.table(prompts.take(rows), chosen, seed, batch, report)
            temporary = paths[number].with_suffix(".partial")
            pq.write_table(part, temporary)
            fsync(temporary)  # or a power cut could leave the name without the bytes
            temporary.replace(paths[number])
            seal(paths[number])
    with pq.ParquetWriter(directory / FILE, _SCHEMA) as file:
        for path in paths:
            file.write_table(pq.read_table(path))
    shutil.rmtree(folder)
    stored = load(directory)
    return counts | {
        "prompts": len(ids),
        "continuations": stored.tokens.size,
        "ended": stored.ended,
        "without_tokens": int((stored.tokens == 0).sum()),
    }


@dataclass(frozen=True)
class Continuations:
    """The continuations of m prompts, k each.

    Attributes:
        prompts: m ids, sorted.
        texts: m lists of k texts.
        tokens: (m, k) numbers of tokens, without the end token.
        ended: number of texts that the model ended.
    """

    prompts: list[str]
    texts: list[list[str]]
    tokens: NDArray[np.int64]
    ended: int


def load(directory: Path) -> Continuations:
    """Returns the continuations that `generate` has written to `directory`."""
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


def bisections(vocabulary: int) -> int:
    """Returns the number of bisections from `vocabulary` token ids to one: the random numbers that
    one draw needs.
    """
    return max(1, (vocabulary - 1).bit_length())


def nucleus(weights: torch.Tensor, total: torch.Tensor, top_p: float) -> torch.Tensor:
    """Returns a (r, k) boolean mask of the tokens in the nucleus (Holtzman et al. 2020, section
    3.1).

    The nucleus is the smallest set of most likely tokens whose probability reaches `top_p`: the
    token that crosses the threshold is in, as in transformers' `TopPLogitsWarper`. Of tokens that
    are exactly as likely as that one, the first columns are in, as many as are needed.

    Args:
        weights: (r, k) probabilities up to a factor a row.
        total: (r,) float64 sum of a row over the whole vocabulary. Where the columns do not reach
            `top_p` of it, all are in.
        top_p: above 0, at most 1.
    """
    falling = weights.sort(dim=1, descending=True).values
    reached = falling.cumsum(1, dtype=torch.float64)
    border = (reached < top_p * total[:, None]).sum(1, keepdim=True).clamp(max=weights.shape[1] - 1)
    least = falling.gather(1, border)
    above, equal = weights > least, weights == least
    needed = border + 1 - above.sum(1, keepdim=True)
    return above | (equal & (equal.cumsum(1) <= needed))


def draw_tokens(
    logits: torch.Tensor,
    uniforms: torch.Tensor,
    top_p: float,
    temperature: float,
    width: int = WIDTH,
) -> torch.Tensor:
    """Returns (r,) token ids, drawn from the renormalised nucleus by bisection of the token ids.

    Each level keeps the lower or the upper half of the remaining ids, in proportion to their
    probabilities, by a random number of its own. Logits that were summed in another order then
    change a draw only where a number falls between two roundings of one share. The sum of these
    probabilities over the levels is near the smallest that any coupling of the two distributions
    has, their total variation distance. Inverting the distribution function accumulates the
    differences of all its steps and changes 10 to 30 times as many draws; in the order of the
    probabilities, where near ties change places, up to some hundred times as many.

    Args:
        logits: (r, v) float32.
        uniforms: (r, bisections(v)) float64 in (0, 1).
        top_p: as in `nucleus`.
        temperature: above 0; divisor of the logits.
        width: a row whose `width` most likely tokens hold the nucleus is not sorted as a whole; the
            draws do not depend on it.
    """
    scaled = logits / temperature
    weights = (scaled - scaled.amax(1, keepdim=True)).exp()
    total = weights.sum(1, dtype=torch.float64)
    columns = torch.arange(logits.shape[1], device=logits.device)
    if width >= logits.shape[1]:
        return _bisect(weights, columns.expand_as(weights), total, uniforms, top_p)
    largest, ids = weights.topk(width, dim=1)
    reached = largest.cumsum(1, dtype=torch.float64)
    # The last of them may tie with a token outside, so the nucleus must end above it.
    inner = (reached >= top_p * total[:, None]) & (largest > largest[:, -1:])
    near = inner.any(1)
    ids, order = ids.sort(dim=1)
    drawn = _bisect(largest.gather(1, order), ids, total, uniforms, top_p)
    far = (~near).nonzero()[:, 0]
    if len(far):
        whole = columns.expand(len(far), -1)
        drawn[far] = _bisect(weights[far], whole, total[far], uniforms[far], top_p)
    return drawn


def _bisect(
    weights: torch.Tensor,
    ids: torch.Tensor,
    total: torch.Tensor,
    uniforms: torch.Tensor,
    top_p: float,
) -> torch.Tensor:
    """Returns the (r,) ids that remain after all levels; the rows of `ids` (r, k) are ascending."""
    inside = weights.where(nucleus(weights, total, top_p), 0.0)
    summed = torch.nn.functional.pad(inside.cumsum(1, dtype=torch.float64), (1, 0))
    ids = ids.contiguous()

    def below(bound: torch.Tensor) -> torch.Tensor:
        return summed.gather(1, torch.searchsorted(ids, bound))

    low = torch.zeros_like(ids[:, :1])
    first, last = torch.zeros_like(summed[:, :1]), summed[:, -1:]
    for level in range(uniforms.shape[1]):
        middle = low + (1 << (uniforms.shape[1] - 1 - level))
        border = below(middle)
        # A number that was rounded to 1 must not lead to a half without probability.
        upper = (uniforms[:, level, None] * (last - first) >= border - first) & (last > border)
        low = torch.where(upper, middle, low)
        first, last = torch.where(upper, border, first), torch.where(upper, last, border)
    return low[:, 0]
