-- Record what every table holds and dump the database, both in one snapshot.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
-- This session waits while pg_dump works.
SET LOCAL idle_in_transaction_session_timeout = 0;
SELECT pg_export_snapshot() AS snapshot \gset
\setenv SNAPSHOT :snapshot
\ir tables.sql
\! pg_dump --no-password --format=custom --compress=1 --lock-wait-timeout=600000 --snapshot="$SNAPSHOT" --file="$PARTIAL/database.dump" && : >"$PARTIAL/dump-is-complete"
COMMIT;
