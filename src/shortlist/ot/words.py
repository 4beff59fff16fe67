"""What the caller calls the settings of a solve, so that a refusal names what can be typed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """Names of settings as the caller's user types them.

    Attributes:
        epsilon: The regularisation as it was given (relative or absolute).
        cost: The ground cost.
        precise: What computes in float64, or nothing where there is no such setting.
        streamed: What keeps no costs of the whole pool.
        anew: What keeps no costs of the sample.
        targets: What takes fewer targets.
        pool: What takes a part of the pool.
        time: What allows more time.
    """

    epsilon: str = "epsilon"
    cost: str = "cost"
    precise: str = "dtype=float64"
    streamed: str = "regime=streamed"
    anew: str = "stored_bytes=0"
    targets: str = "fewer targets"
    pool: str = "a part of the pool"
    time: str = "time_limit"


PLAIN = Words()
