"""Model cards: use, data, metrics and provenance of a model, as the hub reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from shortlist.core import Metric
from shortlist.deploy.model_dir import Kind, Measured, Method, ModelFacts
from shortlist.rendering.tables import TextCell, TextTable, escape_markdown, markdown_table
from shortlist.stats.intervals import normal_interval

if TYPE_CHECKING:
    from shortlist.deploy.runs import StoredRun

PIPELINES: Mapping[Kind, str] = {  # tasks of transformers and of the hub
    "single_label": "text-classification",
    "pairs": "text-classification",
    "multi_label": "text-classification",
    "regression": "text-classification",
    "tokens": "token-classification",
}
PREDICTED: Mapping[Kind, str] = {
    "single_label": "one class of a text",
    "pairs": "one class of two texts",
    "multi_label": "any number of classes of a text",
    "regression": "a number",
    "tokens": "a tag for each word of a text",
}
MAP_NAMES: Mapping[Method, str] = {
    "temperature": "temperature scaling",
    "vector": "vector scaling",
    "platt": "Platt scaling",
    "isotonic": "isotonic regression",
}
LISTED = 50  # classes or domains that a table lists


def model_card(
    run: StoredRun,
    facts: ModelFacts,
    sizes: Mapping[str, int],
    licences: Mapping[str, int],
    licence: str,
) -> str:
    """Returns the card of a model: metadata of the hub, then use, data, metrics and provenance.

    Args:
        run: the run, with the model that is described.
        facts: what the manifest says.
        sizes: number of examples by split.
        licences: number of selected documents by licence.
        licence: the hub's identifier of the licence of the model.
    """
    title = f"{facts.task}: {PREDICTED[facts.kind]}"
    record, steps = run.record, run.models[1 : run.models.index(run.model) + 1]
    selection, axes = record.selection, record.axes
    size = int(selection.get("size", 0))
    metrics = [one for one in run.metrics if one.split == "test"]
    domains = sorted(selection.get("domains", {}).items(), key=lambda item: (-item[1], item[0]))
    parts = [
        f"---\n{_metadata(run, facts, licence)}\n---\n",
        f"# {escape_markdown(title)}\n",
        f"A model that predicts {PREDICTED[facts.kind]}, fine-tuned on the task `{_code(facts.task)}` "
        + (
            f"after continued pre-training on {size:,} documents that `{_code(axes.selector)}` selected.\n"
            if size
            else "without continued pre-training.\n"
        ),
        f"Then made smaller by {', '.join(f'`{one}`' for one in steps)}.\n" if steps else "",
        "## Intended use\n",
        f"Texts like those of the task, of at most {facts.max_length:,} tokens; what is longer is cut. "
        "The metrics below hold for texts like the test items and for nothing else: measure again on "
        "your own before you rely on it. It is not meant for decisions about persons without a person "
        "who checks them.\n",
        *_use(facts),
        "## Labels\n" if facts.labels else "",
        ", ".join(f"`{_code(name)}`" for name in facts.labels[:LISTED])
        + (f" and {len(facts.labels) - LISTED:,} more" if len(facts.labels) > LISTED else "")
        + "\n"
        if facts.labels
        else "",
        "## Metrics\n",
        f"On {sizes['test']:,} test items that neither training nor selection has seen; intervals at 95 % "
        "from the standard error (normal approximation).\n",
        _table(
            ("metric", "value", "95 % interval", "items"),
            [(one.name, f"{one.value:.4f}", _interval(one), f"{one.n:,}") for one in metrics],
        ),
        *_served(facts),
        *_calibration(facts),
        "## Data\n",
        f"Labelled examples: {', '.join(f'{count:,} {split}' for split, count in sizes.items())}. "
        f"Fingerprint of the training texts: `{facts.data_version}`.\n",
        f"Selected documents: {size:,}, budget {axes.budget:,} {axes.budget_unit}, fingerprint "
        f"`{facts.selection}`. Their licences and conditions hold for the texts.\n",
        _table(
            ("licence of the documents", "documents", "share"),
            [(name, f"{n:,}", f"{n / max(size, 1):.1%}") for name, n in licences.items()][:LISTED],
        ),
        _table(("domain", "documents"), [(name, f"{n:,}") for name, n in domains[:LISTED]]),
        f"and {len(domains) - LISTED:,} further domains\n" if len(domains) > LISTED else "",
        *(f"> Warning: {escape_markdown(warning)}\n" for warning in record.warnings),
        "## Provenance\n",
        f"Run `{_code(facts.run)}`, record `{record.key}`, {record.started} UTC, seed {axes.seed}, base "
        f"model `{_code(axes.model)}`. `shortlist.json` holds the SHA-256 of every file but this card.\n",
        _table(("code", "version"), sorted(record.code.items())),
    ]
    return "\n".join(part for part in parts if part)


def _interval(metric: Metric | Measured) -> str:
    """Returns the 95 % interval of a metric, or that there is none."""
    if metric.stderr is None:
        return "not known"
    low, high = normal_interval(metric.value, metric.stderr)
    return f"{low:.4f} to {high:.4f}"


def _metadata(run: StoredRun, facts: ModelFacts, licence: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    pipeline, record = PIPELINES[facts.kind], run.record
    model = record.config.get("model", {})
    data = ModelCardData(
        license=licence,
        library_name="transformers",
        pipeline_tag=pipeline,
        base_model=str(model["name"]) if "revision" in model else None,
        tags=["shortlist", "data-selection", record.axes.selector],
        model_name=facts.task,
        eval_results=[
            EvalResult(
                task_type=pipeline,
                dataset_type=facts.task,
                dataset_name=facts.task,
                dataset_split="test",
                metric_type=one.name,
                metric_name=one.name,
                metric_value=one.value,
                metric_args={"items": one.n, "standard_error": one.stderr},
            )
            for one in run.metrics
            if one.name in run.cell.parts.task.metrics
        ],
    )
    return data.to_yaml().strip()


def _use(facts: ModelFacts) -> list[str]:
    lines = ["```python\nfrom transformers import pipeline\n"]
    given = '{"text": "...", "text_pair": "..."}' if facts.two_texts else '"..."'
    lines.append(
        f'model = pipeline("{PIPELINES[facts.kind]}", "DIR")'
        + (f"\nmodel({given})" if facts.kind == "tokens" else f"\nmodel({given}, truncation=True)")
        + "\n```\n"
    )
    if facts.variants:
        lines.append(
            "`shortlist serve DIR` serves it over HTTP, its probabilities through the calibration map "
            "where there is one; `transformers.pipeline` does not apply the map.\n"
        )
    return ["\n".join(lines[:2]), *lines[2:]]


def _served(facts: ModelFacts) -> list[str]:
    if not facts.variants:
        return []
    rows = [
        (
            name,
            f"{one.agreement:.2%}",
            f"{one.metric.value:.4f}",
            _interval(one.metric),
            f"{one.difference:.1e}",
        )
        for name, one in facts.variants.items()
    ]
    head = (
        "file",
        "agreement",
        facts.metric.name,
        "95 % interval",
        "largest difference of an output",
    )
    return [
        "Agreement is the share of test items of which a file says the same as the run did.\n",
        _table(head, rows),
    ]


def _calibration(facts: ModelFacts) -> list[str]:
    if facts.calibration is None:
        return ["Probabilities are not calibrated.\n"] if facts.labels else []
    return [
        f"Probabilities are calibrated on validation items by {MAP_NAMES[facts.calibration.method]} "
        f"(`calibration` in `shortlist.json`); with it, {facts.metric}.\n"
    ]


def _code(text: str) -> str:
    return " ".join(text.replace("`", "'").split())


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    cells = tuple(tuple(TextCell(text) for text in row) for row in rows)
    text = markdown_table(TextTable("", head, cells))
    return f"{text}\n" if text else ""
