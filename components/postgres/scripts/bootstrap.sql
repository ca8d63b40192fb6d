-- Roles and database of a new cluster; run once, by the administrator, before anyone can connect.
-- Roles get their passwords from reconcile.sql, which runs at each start and whenever the Secret changes.
\set ON_ERROR_STOP on
SET synchronous_commit = local;

CREATE ROLE gx_owner LOGIN;
CREATE ROLE gx_application LOGIN;
-- Takes base backups, streams, and rewinds a former primary.
CREATE ROLE gx_replication LOGIN REPLICATION;
GRANT pg_checkpoint TO gx_replication;
GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean) TO gx_replication;
GRANT EXECUTE ON FUNCTION pg_stat_file(text, boolean) TO gx_replication;
GRANT EXECUTE ON FUNCTION pg_read_binary_file(text) TO gx_replication;
GRANT EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint, boolean) TO gx_replication;
-- Without BYPASSRLS a dump fails as soon as one table has row security.
CREATE ROLE gx_backup LOGIN BYPASSRLS CONNECTION LIMIT 4;
ALTER ROLE gx_backup SET default_transaction_read_only = on;
GRANT pg_read_all_data TO gx_backup;
-- Sees statistics, settings and sizes, and reads no table.
CREATE ROLE gx_exporter LOGIN CONNECTION LIMIT 3;
ALTER ROLE gx_exporter SET default_transaction_read_only = on;
GRANT pg_monitor TO gx_exporter;

CREATE DATABASE :"database" OWNER gx_owner;
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO gx_application, gx_backup, gx_exporter;

\connect :"database"
SET synchronous_commit = local;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO gx_application;
ALTER DEFAULT PRIVILEGES FOR ROLE gx_owner IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO gx_application;
ALTER DEFAULT PRIVILEGES FOR ROLE gx_owner IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO gx_application;
ALTER DEFAULT PRIVILEGES FOR ROLE gx_owner IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO gx_application;
