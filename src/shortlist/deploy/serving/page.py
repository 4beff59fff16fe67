"""The page to try a served model: one file that requests predictions of its own server alone."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from shortlist.deploy.model_dir import Measured, ModelDir
from shortlist.rendering.page import embedded_json, render_html

LABELS = 200  # that the list of a correction offers


def page(model: ModelDir, metric: Measured, *, logs: bool) -> str:
    """Returns the page.

    Args:
        model: what is served.
        metric: of the file that is served.
        logs: whether corrections are kept.
    """
    script = resources.files("shortlist.deploy.serving").joinpath("page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()
    about = {
        "kind": model.kind,
        "two_texts": model.two_texts,
        "labels": list(model.labels[:LABELS]),
        "corrects": logs and model.kind in ("single_label", "pairs"),
    }
    return render_html(
        "shortlist.deploy.serving",
        "page.html.j2",
        model=model,
        metric=metric,
        logs=logs,
        script=script,
        digest=digest,
        about=embedded_json(about),
    )
