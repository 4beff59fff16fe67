"""What all tests share: tiny models, toy corpora, a quiet machine, composed configurations."""

from __future__ import annotations

import functools
import gc
import os
import pickle
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import toy

import shortlist  # noqa: F401  (settings of the environment that must stand before torch)

# Two workers on two cores: a second thread of each only waits for the other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# No test cuts the power: what a killed process wrote is whole without waiting for the disk.
os.fsync = lambda descriptor: None

# Looking for garbage after every 700 new objects, among a million imported ones, is a tenth of the time.
gc.set_threshold(20_000)

# A loaded machine is slow, not wrong.
hypothesis.settings.register_profile("shortlist", deadline=None)
hypothesis.settings.load_profile("shortlist")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights as a Hugging Face directory."""
    return toy.write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of random weights, on bytes, as a Hugging Face directory."""
    return toy.write_gpt2(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory, tiny_gpt2: Path) -> Path:
    """A Llama of random weights, on bytes, as a Hugging Face directory."""
    return toy.write_llama(tmp_path_factory.mktemp("llama"), tiny_gpt2)


@pytest.fixture(scope="session")
def target() -> Any:
    """Twelve texts on sailing."""
    from shortlist.core import Corpus

    return Corpus.build(toy.sentences("sailing", 12), "target").canonical()


@pytest.fixture(scope="session")
def pool(target: Any) -> Any:
    """Sixty documents: the twelve of the target and twelve of each of four other topics."""
    from shortlist.core import Corpus

    topics = [topic for topic in toy.TOPICS if topic != "sailing"]
    texts = [*target.texts, *(text for topic in topics for text in toy.sentences(topic, 12))]
    domains = ["sailing"] * 12 + [topic for topic in topics for _ in range(12)]
    return Corpus.build(texts, domains).canonical()


@pytest.fixture
def machine() -> Any:
    """A CPU that says nothing."""
    from shortlist.runtime import Runtime

    return Runtime(accelerator="cpu", progress=False)


@pytest.fixture(scope="session", autouse=True)
def configurations() -> Generator[None]:
    """Registers the schema, and lets Hydra parse each YAML once.

    The only use of Hydra's private API: it has no public cache of files, and parsing them again is
    a third of the time of a composition. Another third would be copies of the schema, and tables of
    the options so far for names with interpolations where no name has one.
    """
    from hydra._internal import defaults_list
    from hydra._internal.config_repository import ConfigRepository
    from hydra.core.config_store import ConfigStore

    from shortlist import config
    from shortlist.pipeline import hydra_setup  # noqa: F401  (its resolver)

    config.register(ROOT / "conf")
    read, known = ConfigRepository.load_config, {}
    table = defaults_list._create_interpolation_map  # pyright: ignore[reportPrivateUsage]

    def load(self: ConfigRepository, config_path: str) -> Any:
        place = (*(source.path for source in self.sources), config_path)
        if place not in known:
            found = read(self, config_path)
            if found is None:
                return None
            known[place] = pickle.dumps(found)
        return pickle.loads(known[place])  # a composition changes what it reads

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigRepository, "load_config", load)
        patch.setattr(ConfigStore, "__deepcopy__", lambda self, memo: self, raising=False)
        patch.setattr(
            defaults_list, "_create_interpolation_map",
            lambda overrides, names, own: table(overrides, names, own)
            if any(name.is_interpolation() for name in names) else None,
        )  # fmt: skip
        yield


@functools.cache
def _compose(overrides: tuple[str, ...]) -> Any:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides=list(overrides), return_hydra_config=True)


@pytest.fixture(scope="session")
def composed() -> Callable[..., Any]:
    """A function from overrides to the configuration that `python run.py` would see.

    Composing takes time, so equal overrides share one configuration: not to be changed.
    """
    return lambda *overrides: _compose(overrides)
