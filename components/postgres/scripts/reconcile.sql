-- Bring slots, roles and passwords in line with the settings; run on every instance at its start and after each change.
\set ON_ERROR_STOP on
-- No statement of this session is logged, whatever happens: some carry passwords. Nor does it wait for a standby, which
-- may need what it is about to write.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
SET synchronous_commit = local;

-- Every instance has a slot for each of its peers, unreserved until used, so that a promotion finds them there. Slots are
-- not copied by a base backup.
SELECT pg_create_physical_replication_slot(slot) FROM unnest(string_to_array(trim(:'slots'), ' ')) AS slot
WHERE slot NOT IN (SELECT slot_name FROM pg_replication_slots) \g /dev/null
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
WHERE slot_name ~ '^postgres_[0-9]+$' AND NOT active AND slot_name <> ALL (string_to_array(trim(:'slots'), ' ')) \g /dev/null
-- The archive makes its own slot. Without an archive it would hold back WAL that nobody will ask for.
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
WHERE slot_name = 'wal_archive' AND NOT active AND :'archive' <> 'true' \g /dev/null

SELECT pg_is_in_recovery() AS standby \gset
\if :standby
\quit
\endif

\ir failover.sql
\ir archive.sql

\set admin_password `cat /etc/postgresql-secrets/admin`
\set owner_password `cat /etc/postgresql-secrets/owner`
\set application_password `cat /etc/postgresql-secrets/application`
\set replication_password `cat /etc/postgresql-secrets/replication`
\set backup_password `cat /etc/postgresql-secrets/backup`
\set exporter_password `cat /etc/postgresql-secrets/exporter`
\set failover_password `cat /etc/postgresql-secrets/failover`
\set archive_password `cat /etc/postgresql-secrets/archive`
ALTER ROLE :"admin" PASSWORD :'admin_password';
ALTER ROLE gx_owner PASSWORD :'owner_password';
ALTER ROLE gx_application PASSWORD :'application_password';
ALTER ROLE gx_replication PASSWORD :'replication_password';
ALTER ROLE gx_backup PASSWORD :'backup_password';
ALTER ROLE gx_exporter PASSWORD :'exporter_password';
ALTER ROLE gx_failover PASSWORD :'failover_password';
ALTER ROLE gx_archive PASSWORD :'archive_password';
