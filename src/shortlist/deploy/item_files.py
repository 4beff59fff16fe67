"""Files of items to label: tasks of Label Studio, JSON Lines, CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from shortlist.deploy.labelling import Export, Item
from shortlist.errors import InvalidInput

Format = Literal["labelstudio", "csv", "jsonl"]

SUFFIXES: Mapping[str, Format] = {".json": "labelstudio", ".csv": "csv", ".jsonl": "jsonl"}


def _row(item: Item, record: str) -> dict[str, Any]:
    """Returns an item as plain data with an empty label, which a person fills in."""
    row = {"id": item.id, "text": item.text, "text_b": item.text_b, "label": "", "annotator": ""}
    row |= {"given": item.given, "score": round(item.score, 6), "predicted": item.predicted}
    row |= {"probabilities": {k: round(v, 6) for k, v in item.probabilities.items()}}
    row |= {"model_version": "+".join(item.votes), "record": record}
    for name, near_to in (("near_train", item.train), ("near_selected", item.selected)):
        row[name] = [{k: v for k, v in vars(one).items() if v is not None} for one in near_to]
    return {name: value for name, value in row.items() if value is not None}


def as_label_studio(export: Export) -> str:
    """Returns tasks of Label Studio, each with the prediction of every model; the label of a person
    is asked for by a `Choices` control named `label` of the text `text`.
    """
    tasks = []
    for item in export.items:
        data = {
            k: v for k, v in _row(item, export.record).items() if k not in ("label", "annotator")
        }
        predictions = [
            {
                "model_version": version,
                "score": round(probability, 6),
                "result": [
                    {
                        "from_name": "label",
                        "to_name": "text",
                        "type": "choices",
                        "value": {"choices": [predicted]},
                    }
                ],
            }
            for version, (predicted, probability) in item.votes.items()
        ]
        tasks.append({"data": data, "predictions": predictions})
    return json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"


def as_jsonl(export: Export) -> str:
    """Returns one JSON object a line, with an empty `label` to fill in."""
    rows = (_row(item, export.record) for item in export.items)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_csv(export: Export) -> str:
    """Returns a table with an empty column `label` to fill in; what is nested is JSON in a cell."""
    rows = [_row(item, export.record) for item in export.items]
    names = list(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {
                name: json.dumps(value, ensure_ascii=False)
                if isinstance(value, dict | list)
                else value
                for name, value in row.items()
            }
        )
    return file.getvalue()


FORMATS: Mapping[Format, Callable[[Export], str]] = {
    "labelstudio": as_label_studio, "csv": as_csv, "jsonl": as_jsonl,
}  # fmt: skip


def format_of(out: Path, wanted: Format | None) -> Format:
    """Returns the format of a file of items, by its suffix.

    Raises:
        InvalidInput: the suffix is none of `SUFFIXES`, or another format's.
    """
    named = SUFFIXES.get(out.suffix)
    if named is None or wanted not in (None, named):
        suffix = next((s for s, name in SUFFIXES.items() if name == wanted), " or ".join(SUFFIXES))
        raise InvalidInput(
            f"--out: expected a name that ends in {suffix}, found {out.name}; `feedback import` tells "
            "the format by it"
        )
    return named
