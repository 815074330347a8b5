"""What the service counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from saccade.web.service import Service

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counters of one service."""

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "saccade_requests", "Requests answered", ("method", "path", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "saccade_request_seconds", "From a request's head to the end of its answer", ("path",),
            buckets=SECONDS, registry=self._registry,
        )  # fmt: skip
        self.under_way = Gauge(
            "saccade_requests_under_way", "Requests that wait for an answer", registry=self._registry
        )
        self.pictures = Counter("saccade_pictures", "Pictures answered", ("model",), registry=self._registry)
        Gauge("saccade_calls_waiting", "Calls that wait for a model", registry=self._registry).set_function(
            lambda: service.runner.waiting
        )
        Gauge("saccade_decoders_died", "Decoding processes that died at work", registry=self._registry).set_function(
            lambda: service.decoders.died
        )
        films = Gauge("saccade_films", "Films by state", ("state",), registry=self._registry)
        for state in service.jobs.counts():
            films.labels(state).set_function(lambda state=state: service.jobs.counts()[state])

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
