"""Every metric that something exports, by what exports it: rules and dashboards use no other (X-30).

``tests/services`` holds the lists of the exporters that this program runs against real servers; ``SERVICES`` is the
contract that the application's images keep; the rest is what the shared monitoring of the cluster has to scrape.
"""

from collections.abc import Mapping

POSTGRES = frozenset(
    {
        "pg_up",
        "pg_exporter_last_scrape_error",
        "pg_database_size_bytes",
        "pg_database_wraparound_age_datfrozenxid_seconds",
        "pg_locks_count",
        "pg_long_running_transactions",
        "pg_long_running_transactions_oldest_timestamp_seconds",
        "pg_replication_is_replica",
        "pg_replication_lag_seconds",
        "pg_replication_slot_safe_wal_size_bytes",
        "pg_replication_slot_slot_is_active",
        "pg_replication_slot_wal_status",
        "pg_replication_slots_pg_wal_lsn_diff",
        "pg_stat_activity_count",
        "pg_stat_activity_max_tx_duration",
        "pg_stat_bgwriter_buffers_alloc_total",
        "pg_stat_database_blks_hit",
        "pg_stat_database_blks_read",
        "pg_stat_database_conflicts",
        "pg_stat_database_deadlocks",
        "pg_stat_database_numbackends",
        "pg_stat_database_temp_bytes",
        "pg_stat_database_tup_deleted",
        "pg_stat_database_tup_fetched",
        "pg_stat_database_tup_inserted",
        "pg_stat_database_tup_returned",
        "pg_stat_database_tup_updated",
        "pg_stat_database_xact_commit",
        "pg_stat_database_xact_rollback",
        "pg_stat_replication_pg_wal_lsn_diff",
        "pg_wal_segments",
        "pg_wal_size_bytes",
    }
)
"""postgres_exporter, one scrape per instance with the labels ``namespace`` and ``instance`` (``postgres-0``)."""

REDIS = frozenset(
    {
        "redis_up",
        "redis_aof_last_write_status",
        "redis_blocked_clients",
        "redis_commands_processed_total",
        "redis_connected_clients",
        "redis_connected_slaves",
        "redis_db_keys",
        "redis_errors_total",
        "redis_evicted_keys_total",
        "redis_expired_keys_total",
        "redis_instance_info",
        "redis_keyspace_hits_total",
        "redis_keyspace_misses_total",
        "redis_latest_fork_seconds",
        "redis_master_link_up",
        "redis_master_repl_offset",
        "redis_mem_fragmentation_ratio",
        "redis_memory_max_bytes",
        "redis_memory_used_bytes",
        "redis_memory_used_rss_bytes",
        "redis_rdb_last_bgsave_status",
        "redis_rejected_connections_total",
        "redis_slave_info",
        "redis_start_time_seconds",
        "redis_uptime_in_seconds",
    }
)
"""redis_exporter, one scrape per server with the labels ``namespace`` and ``instance`` (``redis-0``)."""

SENTINEL = frozenset(
    {
        "redis_sentinel_master_ckquorum_status",
        "redis_sentinel_master_ok_sentinels",
        "redis_sentinel_master_ok_slaves",
        "redis_sentinel_master_sentinels",
        "redis_sentinel_master_slaves",
        "redis_sentinel_master_status",
        "redis_sentinel_masters",
    }
)
"""redis_exporter asking a sentinel: only where Redis has more than one instance; ``instance`` as for its server."""

BACKUPS = frozenset(
    {
        "gx_backup_last_run_duration_seconds",
        "gx_backup_last_run_success",
        "gx_backup_last_run_timestamp_seconds",
        "gx_backup_newest_size_bytes",
        "gx_backup_newest_timestamp_seconds",
        "gx_backup_sets",
        "gx_off_site_copies",
        "gx_off_site_last_success_timestamp_seconds",
        "gx_restore_test_backup_timestamp_seconds",
        "gx_restore_test_duration_seconds",
        "gx_restore_test_restore_seconds",
        "gx_restore_test_success",
        "gx_restore_test_timestamp_seconds",
        "node_textfile_scrape_error",
    }
)
"""The reports of the backup jobs on their volumes, by a node exporter that reads nothing else; label ``kind``."""

WAL_ARCHIVE = frozenset(
    {
        "gx_wal_archive_base_timestamp_seconds",
        "gx_wal_archive_lag_bytes",
        "gx_wal_archive_position_bytes",
        "gx_wal_archive_reached_timestamp_seconds",
        "gx_wal_archive_receiving",
        "gx_wal_archive_size_bytes",
    }
)
"""The report of the archive of the write-ahead log, read in the same way, where Postgres is restored to a second."""

OFF_SITE_WAL = frozenset({"gx_off_site_wal_reached_timestamp_seconds"})
"""The report of what copies that archive, where copies go off site too."""

EDGE = frozenset(
    {
        "gx_health_monitor_last_run_seconds",
        "gx_region_certificate_days",
        "gx_region_http_code",
        "gx_region_response_seconds",
        "gx_region_up",
        "nginx_connections_active",
        "nginx_connections_reading",
        "nginx_connections_waiting",
        "nginx_connections_writing",
        "nginx_http_requests_total",
        "nginx_up",
    }
)
"""The health monitor's file on each edge node, read by the host's node exporter; ``instance`` is the node's."""

SERVICES = frozenset(
    {
        "event_processing_total",
        "fabric_sdk_connection_status",
        "http_request_duration_seconds_bucket",
        "http_request_duration_seconds_count",
        "http_request_duration_seconds_sum",
        "http_requests_total",
        "outbox_command_queue_depth",
        "outbox_commands_failed_total",
        "prisma_query_duration_seconds_bucket",
        "prisma_query_duration_seconds_count",
        "prisma_query_duration_seconds_sum",
        "projector_lag_milliseconds",
    }
)
"""What workers and services export on port 9090 (docs/service-contract.md); labels ``namespace``, ``app``, ``pod``."""

KUBERNETES = frozenset(
    {
        "kube_cronjob_status_last_schedule_time",
        "kube_deployment_spec_replicas",
        "kube_deployment_status_replicas_available",
        "kube_job_status_failed",
        "kube_node_status_condition",
        "kube_pod_container_resource_limits",
        "kube_pod_container_resource_requests",
        "kube_pod_container_status_restarts_total",
        "kube_pod_container_status_waiting_reason",
        "kube_pod_info",
        "kube_pod_status_phase",
        "kube_pod_status_ready",
        "kube_resourcequota",
        "kube_statefulset_replicas",
        "kube_statefulset_status_replicas_ready",
    }
)
"""kube-state-metrics."""

CONTAINERS = frozenset(
    {
        "container_cpu_cfs_periods_total",
        "container_cpu_cfs_throttled_periods_total",
        "container_cpu_usage_seconds_total",
        "container_memory_working_set_bytes",
        "container_network_receive_bytes_total",
        "container_network_transmit_bytes_total",
    }
)
"""The kubelets, at /metrics/cadvisor."""

NODES = frozenset(
    {
        "node_cpu_seconds_total",
        "node_filesystem_avail_bytes",
        "node_filesystem_readonly",
        "node_filesystem_size_bytes",
        "node_load1",
        "node_memory_MemAvailable_bytes",
        "node_memory_MemTotal_bytes",
        "node_textfile_mtime_seconds",
        "node_textfile_scrape_error",
    }
)
"""The node exporter of every host."""

PROMETHEUS = frozenset(
    {
        "ALERTS",
        "ALERTS_FOR_STATE",
        "alertmanager_notifications_failed_total",
        "alertmanager_notifications_total",
        "prometheus_rule_evaluation_failures_total",
        "scrape_duration_seconds",
        "scrape_samples_scraped",
        "up",
    }
)
"""Prometheus and Alertmanager themselves."""

EXPORTED: Mapping[str, frozenset[str]] = {
    "postgres": POSTGRES,
    "redis": REDIS,
    "sentinel": SENTINEL,
    "backups": BACKUPS,
    "wal-archive": WAL_ARCHIVE,
    "off-site-wal": OFF_SITE_WAL,
    "edge": EDGE,
    "services": SERVICES,
    "kubernetes": KUBERNETES,
    "containers": CONTAINERS,
    "nodes": NODES,
    "prometheus": PROMETHEUS,
}

METRICS = frozenset[str]().union(*EXPORTED.values())
"""Every name that a rule or a dashboard may use, beside what the rules themselves record (``gx:...``)."""
