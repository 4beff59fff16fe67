"""A selection as a data set of the Hugging Face hub: its card, its folder, and one commit."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shortlist.errors import InvalidInput, Missing
from shortlist.store.atomic import read_jsonl

if TYPE_CHECKING:
    import pyarrow as pa

    from shortlist.core import Record

FILE = "data/selection.parquet"
CARD = "README.md"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"),
         (10**7, "1M<n<10M"), (10**8, "10M<n<100M"), (10**9, "100M<n<1B"))  # fmt: skip


def dataset_card(
    record: Record, command: str, title: str = "", licence: str = "unknown", *, texts: bool = True
) -> str:
    """Returns the card of a selection: what it is, for whom, from what, how to repeat it.

    Args:
        record: the record of the selection.
        command: the command that repeats it.
        title: name of the data set; by default what it is.
        licence: the hub's identifier of the licence of the texts.
        texts: False for a table without the texts.
    """
    from huggingface_hub import DatasetCardData

    axes, selection = record.axes, record.selection
    size, target = selection["size"], record.config["task"]["name"]
    title = title or f"{size:,} documents for {target}, selected by {axes.selector}"
    data = DatasetCardData(
        license=licence,
        pretty_name=title,
        tags=["shortlist", "data-selection", axes.selector],
        size_categories=[next((name for most, name in SIZES if size < most), "1B<n<10B")],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": FILE}]}],
    )
    domains = sorted(selection["domains"].items(), key=lambda item: (-item[1], item[0]))
    facts = {name.rpartition(".")[2]: value for name, value in (selection.get("fit") or {}).items()}
    certificate = (
        f"The transport solve {'converged' if facts['converged'] else 'did **not** converge'}: "
        f"{facts['marginal_error']:.2%} of the mass is misplaced."
        if "marginal_error" in facts and "converged" in facts
        else ""
    )
    inputs = {
        name: value
        for name, value in sorted(record.inputs.items())
        if name.endswith(("_fingerprint", "_target", "_revision")) or name.startswith("read.")
    }
    parts = [
        f"---\n{data.to_yaml()}\n---\n",
        f"# {_plain(title)}\n",
        f"{size:,} documents that `{axes.selector}` selected, out of a larger pool, for the continued "
        f"pre-training of a language model toward the target `{_plain(target)}`. They are a choice "
        "from other data, whose licences and conditions hold for the texts.\n",
        "## Columns\n",
        "`id` (hash of the text), `rank` (1 is the best), `score` (larger was selected first), "
        f"`domain`{', `text`' if texts else '; the texts themselves are not in it'}.\n",
        _table(("domain", "documents"), [(name, f"{count:,}") for name, count in domains[:50]]),
        *([f"and {len(domains) - 50:,} further domains\n"] if len(domains) > 50 else []),
        *([f"{certificate}\n"] if certificate else []),
        *(f"> Warning: {_plain(warning)}\n" for warning in record.warnings),
        "## How it was made\n",
        f"```bash\n{command.replace('```', '')}\n```\n",
        f"Budget {axes.budget:,} {axes.budget_unit}, seed {axes.seed}. SHA-256 of the ids in order: "
        f"`{selection['sha256']}`. Cell `{record.key}`, {record.started} UTC.\n",
        _table(("input", "fingerprint"), [(name, f"`{value}`") for name, value in inputs.items()]),
        _table(("code", "version"), sorted(record.code.items())),
        "Made by [shortlist](https://pypi.org/project/shortlist/); `report.html` is the datasheet of "
        "the selection.\n",
    ]
    return "\n".join(parts)


def read_selection(path: Path) -> pa.Table:
    """Returns the table of a run's `shortlist.jsonl`: id, rank, score, domain, text."""
    import pyarrow as pa

    names = {"id": pa.string(), "rank": pa.int64(), "score": pa.float64(), "domain": pa.string(),
             "text": pa.large_string()}  # fmt: skip
    return pa.Table.from_pylist(list(read_jsonl(path)), pa.schema(names))


def write_folder(
    folder: Path, table: pa.Table, card: str, files: Mapping[str, Path]
) -> dict[str, Path]:
    """Returns the files of the data set by their names, after writing them under `folder`.

    Args:
        folder: where they go.
        table: the selection.
        card: its card.
        files: further files by name.
    """
    import pyarrow.parquet as pq

    (folder / FILE).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / FILE, compression="zstd")
    (folder / CARD).write_text(card, encoding="utf-8")
    for name, path in files.items():
        shutil.copyfile(path, folder / name)
    return {name: folder / name for name in (CARD, FILE, *files)}


def push(
    repository: str,
    files: Mapping[str, Path],
    message: str,
    *,
    private: bool,
    revision: str | None,
    token: str | None,
) -> str:
    """Returns the address of the one commit that brings `files` to a data set of the hub.

    Args:
        repository: `organisation/name`; it is made where it does not exist.
        files: files by their names.
        message: first line of the commit.
        private: whether a new data set is private.
        revision: the branch; None for the main one.
        token: a token that may write; None takes that of `hf auth login`.

    Raises:
        InvalidInput: the name is none, or the hub refuses it.
        Missing: the hub cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage], of the client that the hub uses
    )

    api = HfApi(token=token)
    operations: list[Any] = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()
    ]
    try:
        api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        done = api.create_commit(
            repository,
            operations,
            commit_message=message,
            repo_type="dataset",
            revision=revision,
        )
    except (HFValidationError, HfHubHTTPError) as error:
        raise InvalidInput(
            f"{repository}: expected a data set of the hub that may be written to, found: "
            f"{' '.join(str(error).split())[:300]}; look at the name and at `hf auth whoami`"
        ) from error
    except (HTTPError, OSError) as error:
        raise Missing(
            f"{repository}: expected the hub at {api.endpoint}, found {type(error).__name__}; push "
            "from a machine with a network, or picks.save(FILE)"
        ) from error
    return str(done.commit_url)


def _plain(text: str) -> str:
    """Returns a text as one line in which Markdown and HTML have no meaning."""
    line = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in line)


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    for name, value in rows:
        shown = value if value.startswith("`") else _plain(value)
        lines.append(f"| {_plain(name)} | {shown} |")
    return "\n".join(lines) + "\n"
