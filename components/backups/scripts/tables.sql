-- One line per table: name, rows, and a hash of its content that does not depend on the order of the rows.
-- What extensions own is theirs to restore.
SET search_path = pg_catalog;
SET datestyle = 'ISO, YMD';
SET intervalstyle = iso_8601;
SET timezone = 'UTC';
SET extra_float_digits = 1;
SET bytea_output = hex;
SELECT format(
    'SELECT %L, count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM %I.%I AS t',
    format('%I.%I', n.nspname, c.relname), n.nspname, c.relname
)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
    AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY n.nspname, c.relname \gexec
