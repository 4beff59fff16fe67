"""Compute of a cell in floating-point operations, estimated from its record."""

from __future__ import annotations

from collections.abc import Mapping

from shortlist.core import Record

# Passes over a document by the class of a featurizer: a forward pass takes 2 operations a parameter
# and token, a backward pass 4. Others look vectors up or count n-grams.
PASSES = {"Transformer": 2, "ModelLoss": 2, "Gradients": 6}
CHEAP = ("Static", "NGrams", "NoFeatures")


def operations(record: Record) -> float | None:
    """Returns the estimated operations of selection and warm-up; None where the record does not
    hold what they follow from.

    6 N D of the warm-up over its epochs and 2 N D (with gradients 6 N D) of an encoder over the
    pool, N the parameters outside embedding tables, D the tokens (Kaplan et al. 2020, section 2.1).
    A document of the pool is taken to have as many tokens as one of the selection. The solve of
    the selection, attention over long texts and frozen layers are left out.
    """
    counts = record.counts
    parameters, tokens = counts.get("warmup_dense_parameters"), counts.get("warmup_tokens")
    documents = counts.get("warmup_documents")
    model, featurizer, warmup = (record.config.get(n) for n in ("model", "featurizer", "warmup"))
    if not isinstance(featurizer, Mapping) or not isinstance(warmup, Mapping):
        return None
    kind = str(featurizer.get("_target_", "")).rpartition(".")[2]
    other_model = kind in PASSES and featurizer.get("model") != model
    if not parameters or not tokens or not documents or other_model:
        return None
    epochs = warmup.get("epochs", 1)
    if (kind not in PASSES and kind not in CHEAP) or not isinstance(epochs, int | float):
        return None
    read = counts.get("pool_kept", 0) - counts.get("prefilter_left_out", 0)
    pool = PASSES.get(kind, 0) * read * tokens / documents
    return parameters * (6.0 * epochs * tokens + pool)
