"""Parameter-efficient training through `peft`: few weights are trained, the model's own stay."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar

from shortlist.errors import InvalidInput, near
from shortlist.models import checkpoint
from shortlist.settings import Count, Positive, Range
from shortlist.trainers.groups import Depths

BYTES_A_PARAMETER = 12  # float32: the gradient and AdamW's two moments


class Adapter(ABC):
    """A method that trains few weights in place of a model's own.

    Attributes:
        mergeable: whether the trained weights become part of the model's own.
    """

    mergeable: ClassVar[bool] = True

    @property
    def positions(self) -> int:
        """Positions of the model that the method takes."""
        return 0

    @abstractmethod
    def attach(self, model: Any, frozen_layers: int, head: bool, setting: str) -> Any:
        """Returns the model to train: the adapter's weights alone require gradients and, where
        `head` is true, what follows the last layer (pooler, last norm, classifier).

        The adapter is initialised from torch's global generator.

        Args:
            model: the model.
            frozen_layers: number of first layers that get no adapter.
            head: whether what follows the last layer is trained.
            setting: name of the setting, for messages.

        Raises:
            InvalidInput: the model has nothing that the settings name.
        """

    def check(self, model: Any, frozen_layers: int, head: bool, setting: str) -> Any:
        """Returns the outline of the model to train, of the outline of a model; see `attach`."""
        return self.attach(model, frozen_layers, head, setting)

    def detach(self, model: Any) -> Any:
        """Returns the model that `attach` was given, with its adapter merged into its weights."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        layers = [(n, m) for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)]
        for name, layer in layers:
            layer.merge(safe_merge=True)
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, layer.get_base_layer())
        del model.peft_config
        return model


@dataclass(frozen=True)
class Lora(Adapter):
    """LoRA (Hu et al. 2022): the product of two narrow matrices is added to weight matrices.

    Formula:
        W + alpha / rank * B A, with A (rank, in) drawn at random and B (out, rank) 0.

    Attributes:
        rank: number of rows of A.
        alpha: scale of the product, as a multiple of 1 / rank.
        dropout: dropout of A's input.
        targets: `all` matrices of the layers, or patterns of their names.
    """

    rank: Count
    alpha: Positive
    dropout: Annotated[float, Range(0, 1, below=True)]
    targets: str | Sequence[str]

    decomposed: ClassVar[bool] = False

    def attach(self, model: Any, frozen_layers: int, head: bool, setting: str) -> Any:
        """Returns the model with the adapters inside; see `Adapter.attach`."""
        from peft import LoraConfig

        found = _matrices(model, frozen_layers, self.targets, setting)
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # pyright: ignore[reportArgumentType] # peft divides by `r` only
            lora_dropout=self.dropout,
            target_modules=list(found),
            fan_in_fan_out=any(map(checkpoint.is_transposed, found.values())),
            use_dora=self.decomposed,
        )
        return _inject(config, model, head, setting)


@dataclass(frozen=True)
class Dora(Lora):
    """DoRA (Liu et al. 2024): LoRA changes the directions of a matrix, a vector its magnitudes.

    Formula:
        m * (W + alpha / rank * B A) / |W + alpha / rank * B A|, with m the norms of W at first.

    Attributes are those of `Lora`.
    """

    decomposed: ClassVar[bool] = True


@dataclass(frozen=True)
class Ia3(Adapter):
    """IA3 (Liu et al. 2022): vectors, 1 at first, scale outputs of matrices, of feed-forward ones
    the inputs.

    Attributes:
        targets: patterns of names of matrices; None for the keys, values and feed-forward outputs
            that `peft` knows of the architecture.
        feedforward: patterns of those of `targets` whose inputs are scaled; None as above.
    """

    targets: Sequence[str] | None
    feedforward: Sequence[str] | None

    def attach(self, model: Any, frozen_layers: int, head: bool, setting: str) -> Any:
        """Returns the model with the vectors inside; see `Adapter.attach`."""
        from peft import IA3Config
        from peft.utils import constants

        targets, feedforward = self.targets, self.feedforward
        if targets is None:
            kind = model.config.model_type
            known = constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING
            if kind not in known:
                raise InvalidInput(
                    f"{setting}: peft knows no matrices for IA3 of {kind} models; set "
                    f"{setting}.targets and {setting}.feedforward to patterns of their names"
                )
            scaled = constants.TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING[kind]
            targets, feedforward = (
                [f"*.{name}" for name in part] for part in (known[kind], scaled)
            )
        found = _matrices(model, frozen_layers, targets, setting)
        inputs = [n for n in found if any(fnmatchcase(n, one) for one in feedforward or ())]
        config = IA3Config(
            target_modules=list(found),
            feedforward_modules=inputs,
            fan_in_fan_out=any(map(checkpoint.is_transposed, found.values())),
        )
        return _inject(config, model, head, setting)


@dataclass(frozen=True)
class Prompt(Adapter):
    """A method that adds vectors to a model's input, which no weight of the model can hold.

    They are stored beside the model and take effect where `checkpoint.classifier` reads both.

    Attributes:
        tokens: number of vectors, and of positions that they take.
    """

    tokens: Count

    mergeable: ClassVar[bool] = False

    @property
    def positions(self) -> int:
        """Positions of the model that the vectors take."""
        return self.tokens

    @abstractmethod
    def config(self, model: Any, setting: str) -> Any:
        """Returns peft's configuration of the method for a model."""

    def attach(self, model: Any, frozen_layers: int, head: bool, setting: str) -> Any:
        """Returns the model with the vectors before its input; see `Adapter.attach`."""
        from peft import PeftModelForFeatureExtraction

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of transformers, caused by peft
            adapted: Any = PeftModelForFeatureExtraction(model, self.config(model, setting))
        _train_top(model, head, setting)
        return adapted

    def check(self, model: Any, frozen_layers: int, head: bool, setting: str) -> Any:
        """Returns the model as it is; `Adapter.check`."""
        self.config(model, setting)
        return model

    def detach(self, model: Any) -> Any:
        """Returns the model as it is: `checkpoint.save` writes both."""
        return model


@dataclass(frozen=True)
class PromptTuning(Prompt):
    """Prompt tuning (Lester et al. 2021): trained vectors stand before the embedded text.

    They begin as embeddings of tokens drawn at random.
    """

    def config(self, model: Any, setting: str) -> Any:
        """Returns peft's configuration.

        Raises:
            InvalidInput: the model's label is read at the last token, whose place it cannot find
                among embeddings.
        """
        from peft import PromptTuningConfig

        if hasattr(model, "score"):
            raise InvalidInput(
                f"{setting}: {type(model).__name__} finds the last token of a text by its id, which "
                "embeddings do not have; choose peft@finetune.peft=prefix_tuning or lora"
            )
        return PromptTuningConfig(
            task_type="FEATURE_EXTRACTION",
            num_virtual_tokens=self.tokens,
            prompt_tuning_init="SAMPLE_VOCAB",  # pyright: ignore[reportArgumentType]
        )


@dataclass(frozen=True)
class PrefixTuning(Prompt):
    """Prefix tuning (Li and Liang 2021): trained keys and values stand before those of the text in
    every layer. The text's positions begin after the prefix. Without reparametrisation.
    """

    def config(self, model: Any, setting: str) -> Any:
        """Returns peft's configuration."""
        from peft import PrefixTuningConfig

        return PrefixTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=self.tokens)


def memory_saved(parameters: int, trained: int) -> int:
    """Returns the bytes of gradients and optimiser that training `trained` weights in place of all
    `parameters` of the model saves.

    Formula:
        12 * (parameters - trained): gradient and AdamW's two moments, 4 bytes each (float32, also
        in mixed precision). Activations are not counted.
    """
    return BYTES_A_PARAMETER * (parameters - trained)


def _inject(config: Any, model: Any, head: bool, setting: str) -> Any:
    """Returns the model after peft has put an adapter into it."""
    from peft import inject_adapter_in_model

    inject_adapter_in_model(config, model)
    _train_top(model, head, setting)
    return model


def _train_top(model: Any, head: bool, setting: str) -> None:
    """Lets what follows the last layer require gradients, where `head` is true."""
    depths = Depths.read(model, setting)
    for name, weight in model.named_parameters():
        if head and depths.of[name] == depths.top:
            weight.requires_grad_(True)


def _matrices(
    model: Any, frozen_layers: int, targets: str | Sequence[str], setting: str
) -> Mapping[str, Any]:
    """Returns the modules of a model's layers after the frozen ones whose matrices get an adapter.

    A matrix outside of the layers is refused: where it is tied to another one, an adapter merged
    into it would change both (peft issue 2777).
    """
    place = f"{setting}.targets"
    layers = int(model.config.num_hidden_layers)
    every = checkpoint.last_matrices(model, layers, place)
    inside = checkpoint.last_matrices(model, layers - frozen_layers, place)
    if targets == "all":
        return inside
    patterns = [targets] if isinstance(targets, str) else list(targets)
    names: dict[int, list[str]] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(weight), []).append(name.removesuffix(".weight"))
    for pattern in patterns:
        for name, module in model.named_modules():
            weight = getattr(module, "weight", None)
            if name in every or not fnmatchcase(name, pattern) or weight is None:
                continue
            tied = [other for other in names[id(weight)] if other != name]
            reason = f"tied to {tied[0]}, so that merging would change both" if tied else "outside"
            raise InvalidInput(
                f"{place} must name matrices of the layers, {pattern!r} matches {name}, {reason}; "
                f"set {place}=all or other patterns"
            )
        if not any(fnmatchcase(name, pattern) for name in inside):
            raise InvalidInput(
                f"{place}: {pattern!r} matches no matrix of the trained layers; "
                f"{near(pattern, inside)}"
            )
    return {
        name: module
        for name, module in inside.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }
