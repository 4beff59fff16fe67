"""The embedded corpus: the locked distributions and nothing else, and what counts as prose."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from shortlist.data import package_docs
from shortlist.data.package_docs import NOT_READ, Packages, passages
from shortlist.data.pools import PackageDocs
from shortlist.data.readers import Loaded, silent
from shortlist.data.sources import LocalSource
from shortlist.errors import Missing

ROOT = Path(__file__).parents[3]
NOWHERE = LocalSource(None)
LOCKED = {"alpha": "1.0", "beta": "2.1", "gamma-lib": "3.0"}
SENTENCE = "This function returns the mean of the values that were given to it by the caller."


def kept(text: str, min_chars: int = 20) -> list[str]:
    return passages(text, min_chars=min_chars, max_chars=200)[0]


def test_sentences_of_neighbouring_paragraphs_are_joined() -> None:
    assert kept(f"{SENTENCE}\n\n    {SENTENCE}") == [f"{SENTENCE} {SENTENCE}"]


@pytest.mark.parametrize(
    "block",
    [
        ">>> f(1)\n1.0",
        "Args:\n    x: the value that is to be used for the mean of the others.",
        "x : float\n    The value that is to be used for the mean of the others.",
        "- the first of the points that is to be made in this list.\n- the second.",
        "| a | b |\n|---|---|",
        ":param x: the value that is to be used for the mean of the others.",
        "```python\nthe_result = this_is(the, code, that, you, write)\n```",
        ".. code-block:: python\n\n    the = code  # that is to be used for the mean.",
        "Notes\n-----",
        "NO_SENTENCE = (1, 2, 3)",
    ],
)
def test_what_is_no_prose_is_dropped_and_counted(block: str) -> None:
    found, dropped = passages(f"{SENTENCE}\n\n{block}\n\n{SENTENCE}", min_chars=20, max_chars=200)
    assert found == [SENTENCE, SENTENCE]
    assert sum(dropped.values()) >= 1


def test_code_after_a_double_colon_is_dropped_with_its_later_paragraphs() -> None:
    text = f"{SENTENCE} Use it like this::\n\n    x = f(1)\n\n    y = f(2)\n\n{SENTENCE}"
    assert kept(text) == [f"{SENTENCE} Use it like this:", SENTENCE]


def test_passages_are_whole_sentences_within_the_limits() -> None:
    found = kept(" ".join([SENTENCE] * 9), min_chars=100)
    assert all(100 <= len(text) <= 200 and text.endswith(".") for text in found)


def test_short_and_long_pieces_are_counted() -> None:
    _, dropped = passages(SENTENCE, min_chars=100, max_chars=200)
    assert dropped["too_short"] == 1
    _, dropped = passages(SENTENCE, min_chars=10, max_chars=50)
    assert dropped["too_long"] == 1


def test_roles_and_links_become_their_text() -> None:
    text = "Returns :class:`~a.b.Thing` for the [name](http://x.y) that is given, if it is there."
    assert kept(text) == ["Returns a.b.Thing for the name that is given, if it is there."]


def prose(*words: str) -> str:
    return " ".join(
        f"This part of the {word} returns the values that are given to it." for word in words
    )


Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Returns a function that makes an environment and lets Python find only what is in it."""
    monkeypatch.setattr(package_docs, "locked", lambda: LOCKED)

    def make(name: str, versions: dict[str, str], *, backwards: bool = False) -> Path:
        site = tmp_path / name / "site-packages"
        for package, version in sorted(versions.items(), reverse=backwards):
            module = package.replace("-", "_")
            files = {
                f"{module}/{n}.py": f'"""{prose(package, str(n), "file")}"""\n' for n in range(9)
            }
            files[f"{module}/__pycache__/0.cpython-311.pyc"] = "compiled"
            files[f"{module}/tests/test_it.py"] = f'"""{prose("tests")}"""\n'
            files[f"{module}-{version}.dist-info/METADATA"] = (
                f"Metadata-Version: 2.4\nName: {package}\nVersion: {version}\n\n{prose('readme', package)}\n"
            )
            for path, text in sorted(files.items(), reverse=backwards):
                (site / path).parent.mkdir(parents=True, exist_ok=True)
                (site / path).write_text(text)
            record = "".join(f"{path},,\n" for path in sorted(files, reverse=backwards))
            record += "../../bin/script.py,,\n"
            (site / f"{module}-{version}.dist-info" / "RECORD").write_text(record)
        found = list(metadata.Distribution.discover(path=[str(site)]))
        monkeypatch.setattr(package_docs.metadata, "distributions", lambda: found)
        return site

    return make


def load(held_out: tuple[str, ...] = ()) -> Loaded:
    return PackageDocs(8, 5, 50, 200, held_out, seed=0).load(NOWHERE, silent)


def test_where_an_environment_stands_and_how_it_was_written_changes_nothing(
    install: Install,
) -> None:
    install("here", LOCKED)
    pool, identity = load(), PackageDocs(8, 5, 50, 200, (), 0).identity(NOWHERE)
    site = install("there/below", LOCKED, backwards=True)
    (site / "alpha" / "left_over.py").write_text(f'"""{prose("nobody")}"""\n')
    assert load().corpus.fingerprint == pool.corpus.fingerprint
    assert PackageDocs(8, 5, 50, 200, (), 0).identity(NOWHERE) == identity
    assert set(pool.corpus.domains) == set(LOCKED)
    assert not any("tests" in text or "nobody" in text for text in pool.corpus.texts)
    counts = pool.counts
    assert counts["rows_read"] == counts["kept"] + counts["exact_copies"] + counts["not_sampled"]
    assert counts["files_not_read"] == 3 * (9 - 5)


def test_other_distributions_are_counted_and_left_out(install: Install) -> None:
    install("locked", LOCKED)
    before = load()
    install("more", {**LOCKED, "pip": "26.0", "torch": "2.13.0+cpu"})
    after = load()
    assert after.corpus.fingerprint == before.corpus.fingerprint
    assert (before.counts["other_distributions"], after.counts["other_distributions"]) == (0, 2)


def test_a_missing_distribution_and_another_version_are_counted_and_named(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install("locked", LOCKED)
    whole = load()
    assert (whole.counts["missing_distributions"], whole.counts["other_versions"]) == (0, 0)
    assert not caplog.records
    install("other", {"alpha": "1.0.1", "gamma-lib": "3.0+local"})
    with caplog.at_level(logging.WARNING):
        counts = load().counts
    assert (counts["missing_distributions"], counts["other_versions"]) == (1, 1)
    assert "1 missing (beta)" in caplog.messages[0]
    assert "1 other versions (alpha 1.0.1 instead of 1.0)" in caplog.messages[1]


def test_held_out_packages_are_not_in_the_pool_nor_in_its_identity(install: Install) -> None:
    install("locked", LOCKED)
    assert set(load(held_out=("Gamma_Lib",)).corpus.domains) == {"alpha", "beta"}
    one, other = (PackageDocs(8, 5, 50, 200, out, 0).identity(NOWHERE) for out in ((), ("beta",)))
    assert one != other
    with pytest.raises(Missing, match="did you mean `beta`"):
        load(held_out=("betta",))


def test_the_shipped_list_is_the_lock_file_without_what_is_not_read() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    shipped = ROOT / "src/shortlist/data/pydocs_distributions.txt"
    assert shipped.read_text() == package_docs.render_list(lock), "run `make pydocs-list`"
    locked = package_docs.parse_versions(lock)
    assert set(NOT_READ) <= set(locked)
    assert package_docs.locked() == {
        name: version for name, version in locked.items() if name not in NOT_READ
    }


def test_every_platform_installs_what_the_list_names() -> None:
    """The closure of shortlist[all] over the requirements of the installed distributions."""
    from packaging.markers import default_environment
    from packaging.requirements import Requirement

    found = {"shortlist": metadata.distribution("shortlist"), **package_docs.installed()}
    requirements: dict[str, list[Requirement]] = {}
    systems = {
        "linux": ("Linux", "posix"),
        "darwin": ("Darwin", "posix"),
        "win32": ("Windows", "nt"),
    }
    for platform, (system, os_name) in systems.items():
        own = {"sys_platform": platform, "platform_system": system, "os_name": os_name}
        for python in ("3.11", "3.14"):
            own |= {"python_version": python, "python_full_version": f"{python}.1"}
            environment = {**default_environment(), **own}
            todo, seen = [("shortlist", "all"), ("shortlist", "")], set[tuple[str, str]]()
            while todo:
                name, extra = node = todo.pop()
                if node in seen or name not in found:
                    continue
                seen.add(node)
                if name not in requirements:
                    requirements[name] = [Requirement(one) for one in found[name].requires or []]
                for one in requirements[name]:
                    if one.marker is None or one.marker.evaluate({**environment, "extra": extra}):
                        wanted = package_docs.normalised(one.name)
                        todo += [(wanted, extra) for extra in ("", *one.extras)]
            assert package_docs.locked().keys() <= {name for name, _ in seen}, own


def test_the_embedded_tasks_packages_are_locked() -> None:
    task = OmegaConf.load(ROOT / "conf/task/pydocs.yaml")
    names = set(map(package_docs.normalised, task.held_out))
    assert names <= package_docs.locked().keys()
    assert not Packages.of(names, package_docs.installed(), package_docs.locked()).missing


def test_installed_distributions_leave_out_this_project() -> None:
    assert "shortlist" not in package_docs.installed()
