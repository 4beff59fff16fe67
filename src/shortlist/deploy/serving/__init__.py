"""A model directory over HTTP: batching, limits, metrics, a page to try it, a log of corrections."""
