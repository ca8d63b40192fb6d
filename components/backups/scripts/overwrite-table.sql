-- Make a table's rows those of pg_temp.backed_up: what is newer goes, what differs is set back, what is missing comes. Rows that
-- did not change are not touched, so that rows of other tables may go on pointing at them.
WITH column_ AS (
    SELECT a.attname, a.attnum, coalesce(a.attnum = ANY (i.indkey), false) AS key, a.attidentity
    FROM pg_attribute AS a LEFT JOIN pg_index AS i ON i.indrelid = a.attrelid AND i.indisprimary
    WHERE a.attrelid = :'live'::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
), text_ AS (
    SELECT string_agg(format('%I', attname), ', ' ORDER BY attnum) AS columns,
        string_agg(format('%I', attname), ', ') FILTER (WHERE key) AS key,
        string_agg(format('b.%1$I = live.%1$I', attname), ' AND ') FILTER (WHERE key) AS same,
        string_agg(format('%1$I = EXCLUDED.%1$I', attname), ', ') FILTER (WHERE NOT key AND attidentity <> 'a') AS assigned,
        string_agg(format('live.%1$I IS DISTINCT FROM EXCLUDED.%1$I', attname), ' OR ')
            FILTER (WHERE NOT key AND attidentity <> 'a') AS differs
    FROM column_
)
SELECT columns, key, same, coalesce('UPDATE SET ' || assigned || ' WHERE ' || differs, 'NOTHING') AS action FROM text_ \gset
\if :{?key}
\else
    \warn 'The table has no primary key. Fix: restore it beside the live one, without --overwrite'
    \quit
\endif
LOCK TABLE :live IN SHARE ROW EXCLUSIVE MODE;
DELETE FROM :live AS live WHERE NOT EXISTS (SELECT FROM backed_up AS b WHERE :same);
INSERT INTO :live AS live (:columns) OVERRIDING SYSTEM VALUE SELECT :columns FROM backed_up ON CONFLICT (:key) DO :action;
