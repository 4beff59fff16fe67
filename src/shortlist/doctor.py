"""What this machine has of what the commands need, and of what a run would read."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shortlist.needs import Need
    from shortlist.pipeline.machines import Machine


@dataclass(frozen=True)
class Finding:
    """One line: what was looked for, what was found, and whether that is fine (None: optional)."""

    what: str
    found: str
    fine: bool | None = True


def check_machine() -> list[Finding]:
    """Returns what was found, without using the network."""
    return [*_program(), *_machine(), *_folders(), *_models(), *_extras()]


def check_run(typed: Sequence[str], *, online: bool = False) -> tuple[Need, ...]:
    """Returns what the cells of a command would read, each thing once, without fetching any.

    Args:
        typed: the command's overrides, axes included; an experiment brings its own.
        online: whether the hub is asked for sizes and licences.

    Raises:
        ShortlistError: a setting is wrong, or the hub is asked and does not have it.
    """
    from shortlist.errors import DoesNotFit, Missing
    from shortlist.needs import Need
    from shortlist.overrides import cells_of, composed, path_of
    from shortlist.pipeline.needs import asked, needs
    from shortlist.pipeline.workload import room_needed

    found: dict[tuple[str, ...], Need] = {}
    memory, disk, place = ("", 0.0), 0.0, Path()
    machine = _room()
    for cell in cells_of(typed, apart=("seed", "budget")):
        with composed(cell) as config:
            for need in needs(config):
                found.setdefault((need.kind, need.name, need.revision, *need.files), need)
            place = path_of(config, "cache")
            with suppress(
                Missing, DoesNotFit
            ):  # the model itself is missing, or the solve too large
                most, leaves = room_needed(config, machine)
                memory = max(memory, (most.stage, most.memory), key=lambda one: one[1])
                disk = max(disk, leaves)
    listed = list(found.values())
    if online:
        hub = ("model", "data set")
        listed = [asked(need) if need.kind in hub and need.revision else need for need in listed]
    disk += sum(need.bytes or 0 for need in listed if not need.present)
    near = next(one for one in (place, *place.parents) if one.exists())
    free = shutil.disk_usage(near).free
    device = "GPU memory" if machine.gpu else "memory"
    advice = "set a smaller batch_size or max_length, or take a machine with more"
    fits = memory[1] <= machine.device_memory, disk <= free
    return (
        *listed,
        Need("memory", device, f"{memory[0]}, about", fits[0], f"{machine.device_memory / 1e9:,.1f} GB free",
             bytes=int(memory[1]), command="" if fits[0] else advice),
        Need("disk", str(place), "one cell and what is missing, about", fits[1], f"{free / 1e9:,.1f} GB free",
             bytes=int(disk), command="" if fits[1] else "set paths.cache to another disk"),
    )  # fmt: skip


def _room() -> Machine:
    """Returns the free memory of this machine; its rates are not measured."""
    import torch

    from shortlist.ot.resources import available_bytes
    from shortlist.pipeline.machines import Machine

    gpu = torch.cuda.is_available()
    host = float(available_bytes(torch.device("cpu")))
    device = float(available_bytes(torch.device("cuda"))) if gpu else host
    return Machine("", "", gpu, host, device, 0.0, 1.0, 1.0, 1.0, 1.0)


def _program() -> Iterator[Finding]:
    from shortlist import __version__
    from shortlist.config import folder

    yield Finding("shortlist", f"{__version__} in {Path(__file__).parent}")
    python = sys.version_info[:2]
    yield Finding("python", f"{platform.python_version()} {sys.executable}", python >= (3, 11))
    configured = (folder() / "config.yaml").is_file()
    yield Finding("configuration", f"{folder()}", configured)


def _machine() -> Iterator[Finding]:
    import torch

    from shortlist.ot.resources import available_bytes

    yield Finding("torch", f"{torch.__version__}, {torch.get_num_threads()} threads")
    cuda = torch.cuda.is_available()
    yield Finding("gpu", torch.cuda.get_device_name(0) if cuda else "none: everything runs on the CPU",
                  True if cuda else None)  # fmt: skip
    free = available_bytes(torch.device("cpu"))
    yield Finding("free memory", f"{free / 2**30:,.1f} GiB", free > 2 * 2**30)


def _folders() -> Iterator[Finding]:
    from shortlist.overrides import composed, path_of

    with composed(()) as config:
        for name in ("cache", "runs"):
            path = path_of(config, name)
            place = next(one for one in (path, *path.parents) if one.exists())
            room = shutil.disk_usage(place).free / 2**30
            fine = os.access(place, os.W_OK) and room > 1
            written = "" if os.access(place, os.W_OK) else ", cannot be written to"
            yield Finding(f"paths.{name}", f"{path}, {room:,.0f} GiB free{written}", fine)


def _models() -> Iterator[Finding]:
    from shortlist.errors import ShortlistError
    from shortlist.overrides import composed
    from shortlist.pipeline.build import build

    with composed(()) as config:
        try:
            model = build(config.model, "model", None)
            yield Finding(
                "default model", f"{model.directory()}, {model.identity()['weights'][:12]}"
            )
        except ShortlistError as error:
            yield Finding("default model", str(error), False)
    offline = os.environ.get("HF_HUB_OFFLINE")
    mode = f"offline (HF_HUB_OFFLINE={offline})" if offline not in (None, "0") else "online"
    cache = os.environ.get("HF_HOME", "~/.cache/huggingface")
    yield Finding("hub", f"{mode}, cache in {Path(cache).expanduser()}", None)


def _extras() -> Iterator[Finding]:
    from shortlist.pipeline.needs import EXTRAS

    for extra, (package, purpose) in EXTRAS.items():
        if importlib.util.find_spec(package) is None:
            found = f"not installed ({purpose}): pip install 'shortlist[{extra}]'"
            yield Finding(f"extra {extra}", found, None)
        else:
            version = importlib.metadata.version(package.replace("_", "-"))
            yield Finding(f"extra {extra}", f"{package} {version}")
