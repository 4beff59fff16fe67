"""Storage of results: keys, artifacts of stages, file formats, records."""
