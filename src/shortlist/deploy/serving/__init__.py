"""A model directory over HTTP: batching, limits, metrics, a page, a log of corrections."""
