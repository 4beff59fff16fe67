"""Keys of stages: hashes of everything that a result depends on, and of nothing else."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from shortlist.errors import InvalidInput

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

    Raises:
        InvalidInput: a setting is no UTF-8, such as the name of a file with other bytes.
    """
    material = {"stage": stage, "version": version, "config": config, "inputs": inputs}
    text = canonical(material)
    try:
        raw = text.encode()
    except UnicodeEncodeError as error:
        near = text[max(0, error.start - 40) : error.end + 40].encode("utf-8", "backslashreplace")
        raise InvalidInput(
            f"stage {stage}: expected settings in UTF-8, found …{near.decode()}…; rename the file, or "
            "give a pattern that matches it"
        ) from error
    return hashlib.sha256(raw).hexdigest()[:KEY_CHARACTERS]
