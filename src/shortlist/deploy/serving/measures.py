"""Metrics of a server, for Prometheus."""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    generate_latest,
)

from shortlist.deploy.model_dir import ModelDir

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Measures:
    """The metrics of one server.

    Attributes:
        requests: requests by path and status.
        seconds: seconds a request by path.
        predictions: texts that were predicted.
        truncated: of these, texts that were cut.
        batches: number of texts of a batch.
        inference: seconds that a batch takes.
        waiting: number of texts that wait for a batch.
        log_failures: writes to the log that failed.
        media_type: the content type of `text`.
    """

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, model: ModelDir) -> None:
        """Registers the metrics, all zero.

        Args:
            model: what is served.
        """
        self._registry = CollectorRegistry()
        own = {"registry": self._registry, "namespace": "shortlist"}
        self.requests = Counter("requests", "Requests", ["path", "status"], **own)
        self.seconds = Histogram(
            "request_seconds", "Seconds a request", ["path"], buckets=SECONDS, **own
        )
        self.predictions = Counter("predictions", "Texts that were predicted", **own)
        self.truncated = Counter("truncated", "Texts that were cut to the model's length", **own)
        self.batches = Histogram("batch_size", "Texts a batch", buckets=SIZES, **own)
        self.inference = Histogram("batch_seconds", "Seconds a batch", buckets=SECONDS, **own)
        self.waiting = Gauge("waiting", "Texts that wait for a batch", **own)
        self.log_failures = Counter("log_failures", "Writes to the log that failed", **own)
        about = Info("model", "What is served", **own)
        about.info(
            {
                "task": model.task,
                "model_version": model.model_version,
                "data_version": model.data_version,
            }
        )

    def text(self) -> bytes:
        """Returns all measures in the text format of Prometheus."""
        return generate_latest(self._registry)
