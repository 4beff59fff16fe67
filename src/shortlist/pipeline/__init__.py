"""The stages of a cell: each one call, one key, one artifact."""
