"""PostgreSQL: one primary and streaming standbys."""

from components.postgres.cluster import PostgresCluster, PostgresClusterArgs

__all__ = ["PostgresCluster", "PostgresClusterArgs"]
