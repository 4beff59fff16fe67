"""Statistics: paired comparison, intervals."""
