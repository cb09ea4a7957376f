"""What the service counts, for Prometheus."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BATCHES = (1, 2, 4, 8, 16, 32, 64)
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class ServiceMetrics:
    """Counters and times of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        options: Any = {"registry": self.registry}
        self.requests = Counter("comem_requests", "Requests by path and HTTP status.", ["path", "status"], **options)
        self.seconds = Histogram(
            "comem_request_seconds", "Seconds from a chat request to its answer.", buckets=SECONDS, **options
        )
        self.batches = Histogram("comem_batch_size", "Requests answered together.", buckets=BATCHES, **options)
        self.waiting = Gauge("comem_waiting_requests", "Requests that wait for a batch.", **options)
        self.open = Gauge("comem_open_requests", "Chat requests that are read, wait or are answered.", **options)
        self.tokens = Counter("comem_answer_tokens", "Tokens written.", **options)
        self.vectors = Counter("comem_memory_vectors", "Memory vectors shown to the reader.", **options)
        self.reloads = Counter("comem_reloads", "Newer memories, by outcome.", ["outcome"], **options)
        self.items = Gauge("comem_memory_items", "Items of the memory that answers.", **options)

    def write(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self.registry)
