"""A checkpoint of the package `detoxify` with random weights, and the folder that describes its model."""

from __future__ import annotations

import sys
from pathlib import Path

from rehearsal import models

CLASSES = ["toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack"]


def write(folder: Path) -> tuple[Path, Path]:
    """Returns the checkpoint and the folder of its model."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    described = folder / "bert-base-uncased"
    models.write(described, "google-bert/bert-base-uncased")
    (described / "model.safetensors").unlink()
    config = BertConfig.from_pretrained(described, num_labels=len(CLASSES))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = BertForSequenceClassification(config).state_dict()
    named = {"model_type": "bert-base-uncased", "model_name": "BertForSequenceClassification",
             "tokenizer_name": "BertTokenizer", "num_classes": len(CLASSES)}  # fmt: skip
    content = {
        "config": {"arch": {"args": named}, "dataset": {"args": {"classes": CLASSES}}},
        "state_dict": weights,
    }
    checkpoint = folder / "toxic.ckpt"
    torch.save(content, checkpoint)
    return checkpoint, described


if __name__ == "__main__":
    print(*write(Path(sys.argv[1])))
