"""Metrics of the backend, how Prometheus gets them, and what it does about them.

`metrics` lists every metric that exists, `exporters` are the pods that turn databases and backups into metrics,
`scrape` is how Prometheus finds them, `rules` (and `rules/`, one file per area) what it records and alerts on.
`Observability` declares these. `dashboards` (and `dashboards/`) is what Grafana shows, `alertmanager` whom alerts tell;
`SharedMonitoring` declares these.
"""

from components.observability.observability import Observability, ObservabilityArgs
from components.observability.shared import SharedMonitoring, SharedMonitoringArgs

__all__ = ["Observability", "ObservabilityArgs", "SharedMonitoring", "SharedMonitoringArgs"]
