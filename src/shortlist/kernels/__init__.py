"""Pure functions on arrays: the mathematics, with the symbols of the papers."""
