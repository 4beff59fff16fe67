"""How much memory may still be taken: by the machine, and by the control group the process is in."""

from pathlib import Path

import torch

LAPTOP = 4 * 2**30  # where a system does not tell: what a laptop can spare
UNLIMITED = 2**60  # control groups of version 1 write a huge number for no limit


def available_bytes(device: torch.device, root: Path = Path("/")) -> int:
    """Returns the memory that is free on `device` now.

    On a processor the least of what the machine has free (MemAvailable) and of what each control
    group around this process leaves (limit less use, version 1 and 2; its file cache counts as
    free). `root` is where /proc and /sys hang.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    left = [*_machine(root), *_groups(root)]
    return min(left, default=LAPTOP)


def _machine(root: Path) -> list[int]:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return [int(line.split()[1]) * 1024]
    return []


def _groups(root: Path) -> list[int]:
    """Returns what each group from the process's own up to the root's leaves."""
    found: list[int] = []
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            mounted, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            mounted = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        own = mounted / path.lstrip("/")
        # Inside a container the path is often that of the host and the mount is the group itself.
        for folder in (own, *own.parents):
            found += _left(folder, *names)
            if folder == mounted:
                break
    return found


def _left(folder: Path, limit: str, use: str) -> list[int]:
    most, used = _lines(folder / limit), _lines(folder / use)
    if not most or not used or most[0] == "max" or int(most[0]) >= UNLIMITED:
        return []
    cache = [line.split()[1] for line in _lines(folder / "memory.stat") if _is_cache(line)]
    return [max(0, int(most[0]) - int(used[0]) + sum(map(int, cache)))]


def _is_cache(line: str) -> bool:
    return line.startswith("inactive_file ")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:  # not there, or not for us
        return []
