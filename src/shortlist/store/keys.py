"""The name of a computation: a hash of everything that decides its result, and of nothing else."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

KEY_CHARACTERS = 16


def canonical(value: object) -> str:
    """Returns `value` as JSON with sorted keys and no spaces; equal settings give equal text.

    Raises:
        TypeError: a value is not plain data. Hashing its `repr` would let an address into the key.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def key(stage: str, version: int, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Returns the key of one stage: 16 hexadecimal digits of a SHA-256.

    Args:
        stage: name of the stage.
        version: number that its class bumps when the meaning of its result changes.
        config: its resolved settings, only those that decide the result.
        inputs: keys and fingerprints of what it reads.
    """
    material = {"stage": stage, "version": version, "config": config, "inputs": inputs}
    return hashlib.sha256(canonical(material).encode()).hexdigest()[:KEY_CHARACTERS]
