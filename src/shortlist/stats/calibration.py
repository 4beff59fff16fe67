"""Calibration of class probabilities: measures of it, and maps that improve it.

Probabilities are calibrated if, of the items predicted with confidence c, a share c is right. A map
is fitted on validation items and applied to others; what it has learned is plain data, so that it
can be stored as JSON beside a model.
"""
# scipy and scikit-learn carry no type stubs: the types of their results are unknown to the checker.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

from shortlist.errors import InvalidInput
from shortlist.settings import Positive, Range

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Probability below which logarithms are not taken, as in scikit-learn's log_loss.
SMALLEST = 2.0**-52
_TEMPERATURES = (-7.0, 7.0)  # logarithms


def log_losses(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the (n,) negative log-likelihoods of the true classes, in nats.

    Args:
        probabilities: (n, k) probabilities of the classes; those below `SMALLEST` count as it.
        truth: (n,) numbers of the true classes.
    """
    return -np.log(probabilities[np.arange(len(truth)), truth].clip(SMALLEST))


def brier_scores(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns the (n,) values of sum_k (p_k - [k is true])^2 / 2, between 0 and 1 (Brier 1950,
    halved, which for two classes is the squared error of one of them).
    """
    squares = (probabilities**2).sum(1)
    return (squares - 2 * probabilities[np.arange(len(truth)), truth] + 1) / 2


@dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy by bins of the confidence; bins without items are left out.

    Attributes:
        confidence: (b,) mean confidence, the probability of the predicted class.
        accuracy: (b,) share of right predictions.
        count: (b,) number of items.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]

    @property
    def error(self) -> float:
        """The expected calibration error: sum_b count_b / n |accuracy_b - confidence_b|."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float((self.count * gaps).sum() / self.count.sum())


def reliability(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int, equal_mass: bool = False
) -> Reliability:
    """Returns confidence and accuracy by bin.

    Args:
        confidence: (n,) probabilities of the predicted classes.
        correct: (n,) whether the prediction is right.
        bins: number of bins.
        equal_mass: bins of equal numbers of items, by quantiles (equal confidences share a bin), in
            place of bins of equal width. Bins are open on the left and closed on the right; the
            first one is closed on both sides.
    """
    if equal_mass:
        edges = np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf")
    else:
        edges = np.arange(1, bins) / bins
    place = np.searchsorted(edges, confidence, side="left")
    count = np.bincount(place, minlength=bins)
    filled = count > 0

    def mean(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(place, values, bins)[filled] / count[filled]

    return Reliability(mean(confidence), mean(correct.astype(np.float64)), count[filled])


@dataclass(frozen=True)
class Measured:
    """How well probabilities are calibrated on some items.

    Attributes:
        values: by the names of `MEASURES`.
        stderrs: standard errors over bootstrap resamples of the items, likewise.
        items: (n,) values of the items, of the measures that are means over them.
    """

    values: Mapping[str, float]
    stderrs: Mapping[str, float]
    items: Mapping[str, NDArray[np.float64]]


MEASURES = ("log_loss", "brier", "ece", "ece_equal_mass")


def measure(
    probabilities: NDArray[np.float64],
    truth: NDArray[np.int64],
    bins: int,
    resamples: int,
    generator: np.random.Generator,
) -> Measured:
    """Returns log loss, Brier score and expected calibration errors with their standard errors.

    A binned calibration error is biased upwards, the more so the fewer items a bin has, and so are
    those of resamples: their spread is used, not their mean.

    Args:
        probabilities: (n, k) probabilities of the classes.
        truth: (n,) numbers of the true classes.
        bins: number of bins of the calibration errors.
        resamples: number of bootstrap resamples.
        generator: source of the resamples.
    """
    losses, scores = log_losses(probabilities, truth), brier_scores(probabilities, truth)
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == truth

    def values(rows: NDArray[np.int64] | slice) -> list[float]:
        picked = confidence[rows], correct[rows]
        width, mass = (reliability(*picked, bins, equal).error for equal in (False, True))
        return [float(losses[rows].mean()), float(scores[rows].mean()), width, mass]

    n = len(truth)
    drawn = [values(generator.integers(n, size=n)) for _ in range(resamples)]
    return Measured(
        dict(zip(MEASURES, values(slice(None)), strict=True)),
        dict(zip(MEASURES, np.std(drawn, axis=0, ddof=1).tolist(), strict=True)),
        {"log_loss": losses, "brier": scores},
    )


def accuracy_by_coverage(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], shares: Sequence[float]
) -> list[float]:
    """Returns the accuracy on the most confident share of the items, for each of `shares`.

    Where equal confidences straddle the cut, the items of that confidence count by their mean, so
    that the order of the items does not matter.
    """
    values, place, count = np.unique(-confidence, return_inverse=True, return_counts=True)
    right = np.bincount(place, correct.astype(np.float64), len(values))
    seen, hits = np.append(0, count.cumsum()), np.append(0.0, right.cumsum())
    wanted = np.ceil(np.asarray(shares) * len(confidence)).clip(1)
    return (np.interp(wanted, seen, hits) / wanted).tolist()


class Calibrator(ABC):
    """A family of maps of probabilities. Constructors store settings and do no work.

    Args:
        bins: number of bins of the calibration errors that are reported.
        resamples: number of bootstrap resamples of their standard errors.

    Attributes:
        version: raised when the same settings and inputs would give other numbers.
        every_class: whether each class has parameters of its own, so that each needs items.
    """

    version: ClassVar[int] = 1
    every_class: ClassVar[bool] = True

    def __init__(self, bins: Annotated[int, Range(2)], resamples: Annotated[int, Range(2)]) -> None:
        self.bins, self.resamples = bins, resamples

    def check(self, truth: Sequence[str], classes: Sequence[str], what: str) -> None:
        """Refuses validation items that the map cannot be fitted on.

        Args:
            truth: names of the true classes of the items.
            classes: names of the classes of the model.
            what: whose items they are, for the message.

        Raises:
            InvalidInput: there are fewer than two items of these classes, or none of some class
                that has parameters of its own.
        """
        items = [name for name in truth if name in classes]
        missing = [name for name in classes if name not in items] if self.every_class else []
        if len(items) < 2 or missing:
            without = f"none of {', '.join(missing)}" if missing else "too few"
            raise InvalidInput(
                f"{what}: calibration needs validation items{' of every class' * bool(missing)}, found "
                f"{len(items)}, {without}; give the task more validation rows, or set "
                "calibration=temperature or off"
            )

    @abstractmethod
    def fit(
        self, probabilities: NDArray[np.float64], truth: NDArray[np.int64]
    ) -> dict[str, list[Any]]:
        """Returns the parameters of the map, plain data.

        Args:
            probabilities: (n, k) probabilities of validation items.
            truth: (n,) numbers of their true classes.
        """

    @staticmethod
    @abstractmethod
    def apply(
        parameters: Mapping[str, Any], probabilities: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Returns the (n, k) calibrated probabilities of other items; rows sum to 1."""


class Temperature(Calibrator):
    """Temperature scaling: softmax(log p / T), with the T > 0 of the least log loss.

    The predicted classes stay. Source: Guo et al. 2017, On Calibration of Modern Neural Networks,
    section 4.2. Deviation: it starts from log-probabilities; softmax gives the same from logits.
    """

    every_class = False

    def fit(
        self, probabilities: NDArray[np.float64], truth: NDArray[np.int64]
    ) -> dict[str, list[Any]]:
        """Returns `temperature`, one number."""
        logits, rows = _logarithms(probabilities), np.arange(len(truth))

        def loss(log_temperature: float) -> float:
            scaled = logits * np.exp(-log_temperature)
            return -float(log_softmax(scaled, axis=1)[rows, truth].mean())

        best: Any = minimize_scalar(
            loss, bounds=_TEMPERATURES, method="bounded", options={"xatol": 1e-8}
        )
        return {"temperature": [float(np.exp(best.x))]}

    @staticmethod
    def apply(
        parameters: Mapping[str, Any], probabilities: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Returns softmax(log p / T)."""
        return softmax(_logarithms(probabilities) / parameters["temperature"][0], axis=1)


class Vector(Calibrator):
    """Vector scaling: softmax(w * log p + b) with a weight and an offset for each class.

    Source: Guo et al. 2017, section 4.2. Deviation: `penalty` (|w - 1|^2 + |b|^2) is added to the
    mean log loss, because the loss of separable validation items has no minimum.

    Args:
        penalty: as above.
        bins: as in `Calibrator`.
        resamples: as in `Calibrator`.
    """

    def __init__(
        self,
        penalty: Positive,
        bins: Annotated[int, Range(2)],
        resamples: Annotated[int, Range(2)],
    ) -> None:
        super().__init__(bins, resamples)
        self.penalty = penalty

    def fit(
        self, probabilities: NDArray[np.float64], truth: NDArray[np.int64]
    ) -> dict[str, list[Any]]:
        """Returns `weights` and `offsets`, k numbers each."""
        logits = _logarithms(probabilities)
        n, k = logits.shape
        one_hot = np.eye(k)[truth]

        def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            weights, offsets = values[:k], values[k:]
            logs = log_softmax(logits * weights + offsets, axis=1)
            rest = np.concatenate([weights - 1, offsets])
            residuals = (np.exp(logs) - one_hot) / n
            slope = np.concatenate([(residuals * logits).sum(0), residuals.sum(0)])
            value = -(one_hot * logs).sum() / n + self.penalty * (rest**2).sum()
            return float(value), slope + 2 * self.penalty * rest

        start = np.concatenate([np.ones(k), np.zeros(k)])
        found: Any = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
        return {"weights": found.x[:k].tolist(), "offsets": found.x[k:].tolist()}

    @staticmethod
    def apply(
        parameters: Mapping[str, Any], probabilities: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Returns softmax(w * log p + b)."""
        scaled = _logarithms(probabilities) * np.array(parameters["weights"])
        return softmax(scaled + np.array(parameters["offsets"]), axis=1)


class Platt(Calibrator):
    """Platt scaling: 1 / (1 + exp(-(a z + b))) of the log-odds z of each class against the others,
    divided by their sum over the classes.

    Source: Platt 1999, Probabilistic Outputs for Support Vector Machines, section 2.2: the targets
    are (n+ + 1) / (n+ + 2) and 1 / (n- + 2) in place of 1 and 0. The optimum is scikit-learn's
    `LogisticRegression` without penalty; of two classes the second one is fitted.
    """

    def fit(
        self, probabilities: NDArray[np.float64], truth: NDArray[np.int64]
    ) -> dict[str, list[Any]]:
        """Returns `slopes` and `offsets`: a number for each class, or one of two classes."""
        from sklearn.linear_model import LogisticRegression

        n, k = probabilities.shape
        slopes, offsets = list[float](), list[float]()
        for label in _fitted_classes(k):
            positive = truth == label
            high, low = (positive.sum() + 1) / (positive.sum() + 2), 1 / ((~positive).sum() + 2)
            target = np.where(positive, high, low)
            odds = np.tile(_log_odds(probabilities[:, label]), 2)[:, None]
            weights = np.concatenate([target, 1 - target])
            model: Any = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
            model.fit(odds, np.repeat([1, 0], n), sample_weight=weights)
            slopes.append(float(model.coef_[0, 0]))
            offsets.append(float(model.intercept_[0]))
        return {"slopes": slopes, "offsets": offsets}

    @staticmethod
    def apply(
        parameters: Mapping[str, Any], probabilities: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Returns the sigmoids, divided by their sum."""

        def sigmoid(own: NDArray[np.float64], slope: float, offset: float) -> NDArray[np.float64]:
            return 1 / (1 + np.exp(-(slope * _log_odds(own) + offset)))

        return _by_class(probabilities, sigmoid, parameters["slopes"], parameters["offsets"])


class Isotonic(Calibrator):
    """Isotonic regression of [k is true] on the probability of class k, for each class, divided by
    the sum over the classes; equal shares where all are 0.

    Source: Zadrozny and Elkan 2002, Transforming classifier scores into accurate multiclass
    probability estimates. Fitted by scikit-learn's `IsotonicRegression`; of two classes the second
    one is fitted. Needs some hundred validation items; its probabilities may be 0 or 1.
    """

    def fit(
        self, probabilities: NDArray[np.float64], truth: NDArray[np.int64]
    ) -> dict[str, list[Any]]:
        """Returns `inputs` and `outputs`: for each class (one of two) the corners of the line."""
        from sklearn.isotonic import IsotonicRegression

        inputs, outputs = list[list[float]](), list[list[float]]()
        for label in _fitted_classes(probabilities.shape[1]):
            model: Any = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
            model.fit(probabilities[:, label], (truth == label).astype(np.float64))
            inputs.append(model.X_thresholds_.tolist())
            outputs.append(model.y_thresholds_.tolist())
        return {"inputs": inputs, "outputs": outputs}

    @staticmethod
    def apply(
        parameters: Mapping[str, Any], probabilities: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Returns the values of the lines, divided by their sum."""
        return _by_class(probabilities, np.interp, parameters["inputs"], parameters["outputs"])


def _fitted_classes(k: int) -> Sequence[int]:
    """Returns the classes that have a map of their own: of two the second, otherwise all."""
    return (1,) if k == 2 else range(k)


def _by_class(
    probabilities: NDArray[np.float64],
    curve: Callable[..., NDArray[np.float64]],
    *parameters: Sequence[Any],
) -> NDArray[np.float64]:
    """Returns (n, k) probabilities: the curve of each fitted class, divided by the sum of all.

    Args:
        probabilities: (n, k) probabilities before the map.
        curve: from the (n,) probabilities of a class and its parameters to (n,) values.
        parameters: lists with one entry for each fitted class.
    """
    columns = [
        curve(probabilities[:, label], *own)
        for label, *own in zip(_fitted_classes(probabilities.shape[1]), *parameters, strict=True)
    ]
    if len(columns) == 1:
        return np.stack([1 - columns[0], columns[0]], axis=1)
    values = np.stack(columns, axis=1)
    totals = values.sum(1, keepdims=True)
    equal = np.full_like(values, 1 / values.shape[1])
    return np.divide(values, totals, out=equal, where=totals > 0)


def _logarithms(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(probabilities.clip(SMALLEST))


def _log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = probabilities.clip(SMALLEST, 1 - SMALLEST)
    return np.log(clipped) - np.log1p(-clipped)
