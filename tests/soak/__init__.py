"""Attacks on the whole product, each a module with `attack(seed, size, scratch) -> Outcome`."""
