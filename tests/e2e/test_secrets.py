"""Keys of services never reach what a cell writes or prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.whole

SECRET = "5ec4e70123456789abcdef0123456789abcdef01"
NAMES = (
    "WANDB_API_KEY",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "ANY_TOKEN",
)


@pytest.mark.parametrize(
    "logger",
    [
        ("logger=csv",),
        pytest.param(("logger=wandb", "logger.wandb.mode=offline"), marks=pytest.mark.slow),
    ],
    ids=["csv", "wandb"],
)
def test_no_key_of_the_environment_is_in_a_file_or_a_line_of_a_run(
    run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    logger: tuple[str, ...],
) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, SECRET)
    done, _ = run("selector=random", "until=select", "runtime.report=true", *logger)
    failed, directory = run("selector=random", "until=warmup", "model.path=/nowhere", *logger)
    assert (done.status, failed.status) == ("done", "failed")
    out, err = capfd.readouterr()
    assert SECRET not in out + err + caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert directory / "traceback.txt" in files and any(path.suffix == ".html" for path in files)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
