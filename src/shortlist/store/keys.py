"""Keys of stages: hashes of everything that a result depends on, and of nothing else."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

KEY_CHARACTERS = 16


def canonical(value: object) -> str:
    """Returns `value` as JSON with sorted keys and no spaces; equal settings give equal text.

    Raises:
        TypeError: a value is not plain data. Its `repr` could contain a memory address.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def key(stage: str, version: int, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Returns the key of one stage: 16 hexadecimal digits of a SHA-256.

    Args:
        stage: name of the stage.
        version: version of its results, raised when equal settings give other results.
        config: the resolved settings that its result depends on.
        inputs: keys and fingerprints of what it reads.
    """
    material = {"stage": stage, "version": version, "config": config, "inputs": inputs}
    return hashlib.sha256(canonical(material).encode()).hexdigest()[:KEY_CHARACTERS]
