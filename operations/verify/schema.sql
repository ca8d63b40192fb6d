-- What the database says of itself, as one line of JSON. The table of Prisma is read only where there is one: a name in
-- the query itself would be an error where there is none.
SELECT json_build_object(
  'recovery', pg_is_in_recovery(),
  -- Whoever takes a base backup or archives the log streams too.
  'standbys', (
    SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND application_name ~ '^postgres-[0-9]+$'
  ),
  'tables', (
    SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'
  ),
  'unfinished', CASE
    WHEN to_regclass('public._prisma_migrations') IS NULL THEN 0
    ELSE (
      xpath('/row/n/text()', query_to_xml(
        'SELECT count(*) AS n FROM public._prisma_migrations WHERE finished_at IS NULL AND rolled_back_at IS NULL',
        false, true, ''
      ))
    )[1]::text::integer
  END
);
