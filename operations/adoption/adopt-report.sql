-- For people: each table, what each instance has of it, and the first keys of what is not the same.
\pset format unaligned
\pset tuples_only on
WITH line AS (
    SELECT r.name, r.source, 0 AS n, '' AS fate, format('  %-12s %s rows%s', s.name, r.rows, CASE
        WHEN r.source = 0 THEN ', the chosen instance'
        ELSE coalesce((SELECT format(', %s the same', o.rows) FROM stage.outcome AS o
            WHERE o.name = r.name AND o.source = r.source AND o.fate = 'the same'), '')
    END) AS text
    FROM stage.recorded AS r JOIN stage.source AS s USING (source)
    UNION ALL
    SELECT name, -1, 0, '', name FROM stage.recorded GROUP BY name
    UNION ALL
    SELECT name, source, 1, fate, format('    %s: %s%s', CASE fate WHEN 'only there' THEN 'only there, and conflicting with nothing'
        ELSE 'CONFLICT, ' || fate END, rows, coalesce(', ' || array_to_string(keys, ' ') || CASE WHEN rows > 10 THEN ' ...' END
        , coalesce(', ' || array_to_string(keys, ' '), '')))
    FROM stage.outcome WHERE fate <> 'the same' AND rows > 0
)
SELECT text FROM line ORDER BY name, source, n, fate;
SELECT format('%s: %s rows the same, %s only there, %s in conflict', s.name,
    coalesce(sum(o.rows) FILTER (WHERE o.fate = 'the same'), 0), coalesce(sum(o.rows) FILTER (WHERE o.fate = 'only there'), 0),
    coalesce(sum(o.rows) FILTER (WHERE o.fate NOT IN ('the same', 'only there')), 0))
FROM stage.source AS s LEFT JOIN stage.outcome AS o USING (source) WHERE s.source > 0 GROUP BY s.source, s.name ORDER BY s.source;
