-- Record what every table holds and dump the database, both in one snapshot and at the same time.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
-- This session waits while pg_dump works.
SET LOCAL idle_in_transaction_session_timeout = 0;
SELECT pg_export_snapshot() AS snapshot \gset
\setenv SNAPSHOT :snapshot
-- What the tables hold goes down the pipe, and the end of it waits for the dump beside it.
\o |pg_dump --no-password --format=custom --compress=1 --lock-wait-timeout=600000 --snapshot="$SNAPSHOT" --file="$PARTIAL/database.dump" & cat >"$PARTIAL/tables" && recorded=yes; wait "$!" && [ "$recorded" ] && : >"$PARTIAL/dump-is-complete"
\ir tables.sql
\o
COMMIT;
