"""What documents are chosen for: targets with weights and floors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shortlist.errors import InvalidInput, near


@dataclass(frozen=True)
class TargetSpec:
    """The targets of a selection, by name.

    Attributes:
        weights: weight of each target; those to choose toward sum to 1, the one to choose away
            from has a negative weight.
        floors: share of the budget that is kept for the best documents of a target.
    """

    weights: Mapping[str, float]
    floors: Mapping[str, float] = field(default_factory=dict[str, float])

    @staticmethod
    def of(
        names: Sequence[str],
        weights: Mapping[str, float] | None = None,
        floors: Mapping[str, float] | None = None,
        negative: str | None = None,
    ) -> TargetSpec:
        """Returns the targets that settings describe.

        Only the ratio of the weights of `names` matters among themselves: they are scaled to sum
        to 1, so that the weight of `negative` (1 unless given) is relative to all of them.

        Args:
            names: targets to choose toward.
            weights: weight of each of them, none left out; None weighs them alike. The weight of
                `negative` may be given or not.
            floors: share of the budget kept for the best of a target.
            negative: target to choose away from, or None.

        Raises:
            InvalidInput: a weight or a floor is out of range, left out, or of an unknown target.
        """
        every = (*names, negative) if negative else tuple(names)
        given, kept = dict(weights or {}), dict(floors or {})
        for setting, values in (("target_weights", given), ("target_floors", kept)):
            known = every if setting == "target_weights" else names
            for name, value in values.items():
                if name not in known:
                    raise InvalidInput(f"{setting} names no target `{name}`; {near(name, known)}")
                if not 0 <= value < math.inf:
                    raise InvalidInput(
                        f"{setting} of `{name}` must be 0 or more, found {value:g}"
                        + ("; name it negative_target to go away from it" if value < 0 else "")
                    )
        away = given.pop(negative, 1.0) if negative else 0.0
        missing = [name for name in names if given and name not in given]
        if missing:
            raise InvalidInput(
                f"target_weights leaves out `{'`, `'.join(missing)}`; give every target a weight"
            )
        toward = {name: given.get(name, 1.0) for name in names}
        total = math.fsum(toward.values())
        if total == 0 and away == 0:
            raise InvalidInput(
                "target_weights are all 0; give one target at least a weight above 0"
            )
        for name, share in kept.items():
            if share > 1:
                raise InvalidInput(
                    f"target_floors of `{name}` must be a share of the budget from 0 to 1, "
                    f"found {share:g}"
                )
        scaled = {name: value / (total or 1.0) for name, value in toward.items()}
        return TargetSpec(
            scaled | ({negative: -away} if negative else {}),
            {name: share for name, share in kept.items() if share > 0},
        )

    @property
    def first(self) -> TargetSpec:
        """The first target alone: what is left for a method that looks at no target."""
        return TargetSpec({next(iter(self.weights)): 1.0})

    @property
    def single(self) -> bool:
        """Whether there is one target, with nothing kept for it."""
        return list(self.weights.values()) == [1.0] and not self.floors

    @property
    def toward(self) -> dict[str, float]:
        """The targets to choose toward, with weights above 0."""
        return {name: weight for name, weight in self.weights.items() if weight > 0}
