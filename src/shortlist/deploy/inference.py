"""Predictions of a model directory by ONNX Runtime: texts to token ids, to outputs, to answers.

Neither torch nor transformers is imported: texts are cut and outputs are mapped as the heads of
`models.heads` do it, which the tests compare.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from shortlist.deploy.model_dir import Measured, ModelDir
from shortlist.errors import BrokenArtifact, InvalidInput, Missing
from shortlist.models.words import OUTSIDE, first_tokens

if TYPE_CHECKING:
    from tokenizers import Encoding

WHOLE, SMALL = "model.onnx", "model.int8.onnx"
# Padded tokens that are run together. On two cores MiniLM takes as long for a text in groups of 512
# as alone, a third longer in groups of 1,024, and in one padded batch of 32 five times as long.
GROUP = 512


@dataclass(frozen=True)
class Prediction:
    """What a model says of one input.

    Attributes:
        label: the class, the classes, the number, or a tag for each word.
        probability: of the class; None where there is no single one.
        probabilities: of all classes, calibrated if the model has a map; none of numbers and tags.
        truncated: whether the input was longer than the model reads.
    """

    label: str | float | list[str]
    probability: float | None
    probabilities: Mapping[str, float]
    truncated: bool


class Session:
    """A model in ONNX Runtime, on the CPU.

    Attributes:
        inputs: names of what it reads.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        """Opens a file.

        Args:
            path: the file.
            threads: threads of one call; 0 for one a core.

        Raises:
            Missing: ONNX Runtime is not installed.
            BrokenArtifact: the file is not a model that it can run.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise Missing(
                "ONNX Runtime is not installed; run: pip install 'shortlist[serve]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        # Threads that spin while they wait double the processor time, and stall where others work.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # a class for each status of the library
            reason = " ".join(str(error).split())[:200]
            raise BrokenArtifact(f"{path} is not a model of ONNX Runtime: {reason}") from error
        self.inputs = tuple(one.name for one in self._session.get_inputs())

    def run(self, given: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Returns the (b, k) outputs of a padded batch, of tags (b, t, k)."""
        outputs: Any = self._session.run(None, {name: given[name] for name in self.inputs})
        return outputs[0]


class Predictor:
    """A model directory that predicts.

    Attributes:
        model: the directory.
        file: the file that is run.
        max_length: tokens that are read of an input.
        group: padded tokens that are run together.
    """

    def __init__(
        self, model: ModelDir, *, int8: bool = False, threads: int = 0, group: int = GROUP
    ) -> None:
        """Opens tokenizer and model.

        Args:
            model: a verified directory.
            int8: whether the quantised model is run.
            threads: threads of one call; 0 for one a core.
            group: padded tokens that are run together.

        Raises:
            Missing: the directory has no such model, or ONNX Runtime is not installed.
            BrokenArtifact: a file is not what it must be.
        """
        from tokenizers import Tokenizer

        self.model, self.file = model, SMALL if int8 else WHOLE
        if self.file not in model.files:
            raise Missing(
                f"expected {self.file} in {model.path}, found none; write it with shortlist export "
                f"RUN --out {model.path} --{'int8' if int8 else 'onnx'}"
            )
        self.session = Session(model.path / self.file, threads)
        self.max_length, self.group = model.max_length, group
        path = model.path / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises no narrower class
            raise BrokenArtifact(f"{path} is not a tokenizer: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(model.max_length, strategy="longest_first")

    @property
    def metric(self) -> Measured:
        """The metric of the file that is run, that of the weights where it has none of its own."""
        own = self.model.variants.get(self.file)
        return self.model.metric if own is None else own.metric

    @cached_property
    def _pad(self) -> int:
        config = json.loads((self.model.path / "config.json").read_text(encoding="utf-8"))
        return int(config.get("pad_token_id") or 0)

    def encode(self, texts: Sequence[str], texts_b: Sequence[str] | None = None) -> list[Encoding]:
        """Returns the token ids of texts or pairs, cut to `max_length`.

        Raises:
            InvalidInput: the tokenizer finds nothing in one of them.
        """
        rows: list[Any] = list(texts if texts_b is None else zip(texts, texts_b, strict=True))
        encodings = self._tokenizer.encode_batch(rows)
        for place, one in enumerate(encodings):
            if not one.ids:
                raise InvalidInput(f"texts.{place}: expected a text with tokens, found one without")
        return encodings

    def outputs(self, encodings: Sequence[Encoding]) -> list[NDArray[np.float64]]:
        """Returns the (k,) outputs of each input, of tags (t, k); those of like length are run
        together.
        """
        lengths = [len(one.ids) for one in encodings]
        order = sorted(range(len(encodings)), key=lambda row: -lengths[row])
        found: dict[int, NDArray[np.float64]] = {}
        start = 0
        while start < len(order):
            rows = order[start : start + max(1, self.group // lengths[order[start]])]
            found |= dict(zip(rows, self._run([encodings[row] for row in rows]), strict=True))
            start += len(rows)
        return [found[row] for row in range(len(encodings))]

    def _run(self, encodings: Sequence[Encoding]) -> NDArray[np.float64]:
        """Returns the outputs of inputs in one padded batch."""
        width = max(len(one.ids) for one in encodings)
        given = {
            "input_ids": np.full((len(encodings), width), self._pad, dtype=np.int64),
            "attention_mask": np.zeros((len(encodings), width), dtype=np.int64),
            "token_type_ids": np.zeros((len(encodings), width), dtype=np.int64),
        }
        for row, one in enumerate(encodings):
            size = len(one.ids)
            given["input_ids"][row, :size] = one.ids
            given["attention_mask"][row, :size] = 1
            given["token_type_ids"][row, :size] = one.type_ids
        return self.session.run(given).astype(np.float64)

    def answers(
        self,
        texts: Sequence[str],
        encodings: Sequence[Encoding],
        outputs: Sequence[NDArray[np.float64]],
    ) -> list[Prediction]:
        """Returns the predictions of inputs from what `encode` and `outputs` return for them."""
        cut = [bool(one.overflowing) for one in encodings]
        model = self.model
        if model.kind == "regression":
            return [
                Prediction(float(value), None, {}, too_long)
                for (value,), too_long in zip(outputs, cut, strict=True)
            ]
        if model.kind == "tokens":
            return [
                Prediction(self._tags(text, one, row), None, {}, too_long)
                for text, one, row, too_long in zip(texts, encodings, outputs, cut, strict=True)
            ]
        answers: list[Prediction] = []
        for row, too_long in zip(self.probabilities(np.stack(outputs)), cut, strict=True):
            named = dict(zip(model.labels, row.tolist(), strict=True))
            if model.kind == "multi_label":
                chosen = [name for name, value in named.items() if value >= model.threshold]
                answers.append(Prediction(chosen, None, named, too_long))
            else:
                best = model.labels[int(row.argmax())]
                answers.append(Prediction(best, named[best], named, too_long))
        return answers

    def probabilities(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the (n, k) probabilities of classes, calibrated where the model has a map."""
        if self.model.kind == "multi_label":
            return expit(outputs)
        values = softmax(outputs, axis=-1)
        return values if self.model.calibration is None else self.model.calibration.apply(values)

    def _tags(self, text: str, encoding: Encoding, outputs: NDArray[np.float64]) -> list[str]:
        firsts = first_tokens(text, encoding.offsets, encoding.sequence_ids)
        best = outputs.argmax(-1)
        return [self.model.labels[best[place]] if place >= 0 else OUTSIDE for place in firsts]

    def predict(
        self, texts: Sequence[str], texts_b: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Returns the predictions of texts or pairs, run as one batch."""
        encodings = self.encode(texts, texts_b)
        return self.answers(texts, encodings, self.outputs(encodings)) if encodings else []
