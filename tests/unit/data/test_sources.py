"""Where files are found, and what is said where they are not."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shortlist.data.sources import HubSource, HubSpec, LocalSource
from shortlist.errors import InvalidInput, Missing

Write = Callable[..., Path]


SHA = "0123456789abcdef0123456789abcdef01234567"
HUB: dict[str, Any] = {
    "dataset": "org/name",
    "revision": "v1",
    "files": {"train": "data/train-*.parquet", "test": "data/test-*.parquet"},
    "columns": {"text": "sentence", "label": "label"},
    "labels": ["no", "yes"],
}


@pytest.fixture
def cache(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns a hub cache that holds org/name at v1; opening a socket fails the test."""

    def no_socket(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", no_socket)
    repository = tmp_path / "hub" / "datasets--org--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "v1").write_text(SHA)
    for split, shards in (("train", 2), ("test", 1)):
        for shard in range(shards):
            name = f"{split}-{shard:05d}-of-{shards:05d}.parquet"
            rows = [{"sentence": f"{split} {shard} {n}", "label": n % 2} for n in range(3)]
            write(f"hub/datasets--org--name/snapshots/{SHA}/data/{name}", rows)
    return str(tmp_path / "hub")


def test_the_hub_gives_all_shards_in_order_and_the_commit(cache: str) -> None:
    found = HubSource(offline=True, cache_dir=cache).task_files("cola", HUB)
    assert found.revision == SHA
    assert [path.name[:11] for path in found.files["train"]] == ["train-00000", "train-00001"]
    assert found.columns is not None
    assert (found.columns.text, found.columns.names) == ("sentence", ("no", "yes"))


def test_a_data_set_that_is_not_cached_names_the_command_that_fetches_it(cache: str) -> None:
    with pytest.raises(
        Missing, match=r"hf download org/other .*--include 'data/train-\*\.parquet'"
    ):
        HubSource(True, cache).task_files("cola", HUB | {"dataset": "org/other"})


def test_an_unknown_revision_is_not_replaced_by_another(cache: str) -> None:
    with pytest.raises(Missing, match="revision v2"):
        HubSource(True, cache).task_files("cola", HUB | {"revision": "v2"})


def test_a_pattern_without_files_is_missing(cache: str) -> None:
    files = {"train": "data/train-*.parquet", "test": "data/dev-*.parquet"}
    with pytest.raises(Missing, match=r"data/dev-\*\.parquet"):
        HubSource(True, cache).task_files("cola", HUB | {"files": files})


def test_a_task_without_hub_data_says_to_use_local(cache: str) -> None:
    with pytest.raises(Missing, match=r"'rare' has no data set on the hub.*source=local"):
        HubSource(True, cache).task_files("rare", None)


def test_an_unknown_key_of_the_specification_names_the_near_one() -> None:
    with pytest.raises(InvalidInput, match="did you mean `revision`"):
        HubSpec.parse("task 'x'", HUB | {"revison": "v1"})


def test_the_hub_gives_the_domains_that_are_specified(cache: str) -> None:
    hub = {"web": HUB | {"files": {"pool": "data/train-*.parquet"}}}
    source = HubSource(True, cache)
    assert source.pool_names(hub) == ("web",)
    assert len(source.pool_files("web", hub).files["pool"]) == 2
    with pytest.raises(Missing, match="known: web"):
        source.pool_files("wep", hub)


def test_a_local_task_is_found_whatever_its_compression(write: Write, tmp_path: Path) -> None:
    for split, suffix in (("train", ".jsonl.gz"), ("validation", ".jsonl"), ("test", ".jsonl.zst")):
        write(f"tasks/toy/{split}{suffix}", [{"text": "a"}])
    found = LocalSource(str(tmp_path)).task_files("toy")
    assert list(found.files) == ["train", "validation", "test"]
    assert found.revision == ""


def test_a_local_task_that_is_not_there_names_the_near_ones(write: Write, tmp_path: Path) -> None:
    write("tasks/chemprot/train.jsonl", [{"text": "a"}])
    with pytest.raises(Missing, match="did you mean `chemprot`"):
        LocalSource(str(tmp_path)).task_files("chemport")


def test_a_task_without_a_test_file_is_missing(write: Write, tmp_path: Path) -> None:
    write("tasks/toy/train.jsonl", [{"text": "a"}])
    with pytest.raises(Missing, match=r"toy/test.*found train\.jsonl"):
        LocalSource(str(tmp_path)).task_files("toy")


def test_two_files_for_one_split_are_refused(write: Write, tmp_path: Path) -> None:
    for suffix in (".jsonl", ".jsonl.gz"):
        write(f"pools/news{suffix}", [{"text": "a"}])
    with pytest.raises(InvalidInput, match=r"news\.jsonl and news\.jsonl\.gz"):
        LocalSource(str(tmp_path)).pool_files("news")


@pytest.mark.parametrize("root", [None, "", "/nowhere/at/all"])
def test_a_root_that_is_not_there_says_what_to_set(root: str | None) -> None:
    with pytest.raises(Missing, match=r"paths\.data=DIR"):
        LocalSource(root).task_files("cola")


def test_pool_domains_are_the_names_of_the_files(write: Write, tmp_path: Path) -> None:
    for name in ("news.jsonl.gz", "books.jsonl"):
        write(f"pools/{name}", [{"text": "a"}])
    source = LocalSource(str(tmp_path))
    assert source.pool_names() == ("books", "news")
    with pytest.raises(Missing, match="did you mean `books`"):
        source.pool_files("book")


def test_a_file_of_texts_is_found_under_the_folder_or_by_its_whole_path(
    write: Write, tmp_path: Path
) -> None:
    file = write("lm_eval/texts.jsonl", [{"text": "a"}])
    under = LocalSource(str(tmp_path)).text_files("what", "lm_eval/texts.jsonl")
    assert under.files == {"texts": (tmp_path / "lm_eval/texts.jsonl",)}
    assert LocalSource(None).text_files("what", str(file.absolute())).files == under.files
    for path, says in (
        (None, "what: expected the path"),
        ("gone.jsonl", r"gone\.jsonl, found none"),
    ):
        with pytest.raises(Missing, match=says):
            LocalSource(str(tmp_path)).text_files("what", path)


def test_texts_without_hub_data_say_to_use_local() -> None:
    with pytest.raises(Missing, match=r"what has no data set on the hub .*source=local"):
        HubSource().text_files("what", "texts.jsonl", None)
