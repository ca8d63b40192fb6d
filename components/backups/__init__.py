"""Scheduled backups of Postgres and Redis, and the tests that they can be restored."""

from components.backups.backups import DatabaseBackups, DatabaseBackupsArgs

__all__ = ["DatabaseBackups", "DatabaseBackupsArgs"]
