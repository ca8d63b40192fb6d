-- Who archives the write-ahead log and takes base backups: it streams, and connects to no database. Included by reconcile.sql, so
-- that a database of any age has it.
SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'gx_archive') AS missing \gset
\if :missing
-- The receiver, a base backup with its own stream, and the questions of both.
CREATE ROLE gx_archive LOGIN REPLICATION CONNECTION LIMIT 8;
\endif
