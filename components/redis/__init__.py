"""Redis: one master and replicas under Sentinel."""

from components.redis.cluster import RedisCluster, RedisClusterArgs

__all__ = ["RedisCluster", "RedisClusterArgs"]
