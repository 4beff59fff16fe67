"""Loads every task, pool and text that `conf` describes on the hub; prints what was read as JSON.

python -m rehearsal.readers
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from shortlist import config as schema
from shortlist.data.readers import silent
from shortlist.data.sources import HubSource
from shortlist.errors import ShortlistError
from shortlist.pipeline import hydra_setup  # noqa: F401  (its resolver)
from shortlist.pipeline.compose import build_component

CONF = Path(__file__).parents[2] / "conf"


def loaded(group: str, name: str) -> dict[str, Any] | None:
    """Returns the number of documents by split, and of rejected rows; None where there is no hub."""
    config = compose("config", overrides=[f"{group}={name}"])
    if not config[group].get("hub"):
        return None
    found = build_component(config, group).load(HubSource(), silent)
    parts = {"pool": found.corpus} if group == "pool" else {
        split: getattr(found, split) for split in ("train", "validation", "test")
    }  # fmt: skip
    domains = sorted(set(found.corpus.domains)) if group == "pool" else []
    counts = {split: len(corpus) for split, corpus in parts.items()}
    return {**counts, "domains": domains, "rejected": [row.reason for row in found.quarantined]}


def main() -> None:
    """Prints one object by `GROUP=NAME`."""
    schema.register(CONF)
    report: dict[str, Any] = {}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for group in ("task", "pool"):
            for path in sorted((CONF / group).glob("*.yaml")):
                try:
                    found = loaded(group, path.stem)
                except ShortlistError as error:
                    found = {"error": str(error)}
                if found is not None:
                    report[f"{group}={path.stem}"] = found
        config = compose("config", overrides=["task=detox"])
        hub = config.task.evaluators.perplexity.hub
        files = HubSource().text_files("perplexity", None, hub).files["texts"]
        report["evaluator=perplexity"] = {"files": len(files)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
