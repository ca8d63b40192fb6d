-- Compare the chosen instance, which is this database, with the others, which are databases of their names beside it.
--
-- For each table of the chosen one, stage.t<id> gets the rows of the others that are not the same here, and what speaks against
-- taking each: a row has the fate NULL when nothing does. Keys and contents are compared as text, so the sessions of all
-- databases write values alike. A table without a primary key is compared as a multiset: its row's key is its content, and
-- the how manieth of that content it is.
\set catalog `cat :'scripts'/catalog.sql`
CREATE SCHEMA stage;
CREATE EXTENSION dblink SCHEMA stage;

CREATE TABLE stage.relation AS
SELECT row_number() OVER (ORDER BY name)::int AS id, c.*, name::regclass AS rel, (
    SELECT array_agg(a.attname::text ORDER BY k.n)
    FROM pg_index AS i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k(attnum, n)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indrelid = name::regclass AND i.indisprimary
) AS keys
FROM (:catalog) AS c;

-- 0 is the chosen one.
CREATE TABLE stage.source AS
SELECT 0 AS source, :'chosen' AS name, NULL AS connection
UNION ALL
SELECT n, name, format('host=/scratch user=scratch dbname=%s', name)
FROM unnest(string_to_array(:'others', ' ')) WITH ORDINALITY AS other(name, n);

CREATE TABLE stage.recorded (source int, name text, rows bigint, hash numeric, PRIMARY KEY (source, name));
COPY stage.recorded FROM '/scratch/recorded' (DELIMITER '|');

-- What an instance's table is, next to that of the chosen one.
CREATE TABLE stage.pair AS
SELECT s.source, s.name AS instance, s.connection, t.name, t.names, r.id, CASE
    WHEN r.id IS NULL THEN 'the chosen instance has no such table'
    WHEN t.columns <> r.columns THEN 'columns differ: ' || (
        SELECT string_agg(format('%s is %s and here %s', key, coalesce(t.columns ->> key, 'missing'),
            coalesce(r.columns ->> key, 'missing')), '; ' ORDER BY key)
        FROM jsonb_object_keys(t.columns || r.columns) AS key WHERE t.columns -> key IS DISTINCT FROM r.columns -> key)
    WHEN t.inherits OR r.inherits THEN 'it is part of another table, or has parts'
END AS incomparable
FROM stage.source AS s
CROSS JOIN LATERAL stage.dblink(s.connection, :'catalog') AS t(name text, columns jsonb, names text[], inherits boolean)
LEFT JOIN stage.relation AS r ON r.name = t.name
WHERE s.source > 0;

CREATE FUNCTION stage.listed(names text[], template text, separator text DEFAULT ', ') RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format(template, name), separator ORDER BY n) FROM unnest(names) WITH ORDINALITY AS each(name, n)
$$;

-- The rows of a query with the column _row, each with its key.
CREATE FUNCTION stage.keyed(rows text, keys text[]) RETURNS text LANGUAGE sql AS $$
    SELECT format('SELECT _row, %s AS _key, %s AS _copy FROM (%s) AS _q',
        CASE WHEN keys IS NULL THEN '_row::text' ELSE format('ROW(%s)::text', stage.listed(keys, '(_row).%I')) END,
        CASE WHEN keys IS NULL THEN 'row_number() OVER (PARTITION BY _row::text)' ELSE '1::bigint' END, rows)
$$;

CREATE PROCEDURE stage.load() LANGUAGE plpgsql AS $$
DECLARE
    t record;
    p record;
    here text;
    there text;
BEGIN
    FOR t IN SELECT * FROM stage.relation ORDER BY id LOOP
        EXECUTE format('CREATE TABLE stage.t%s (_n bigint GENERATED ALWAYS AS IDENTITY, _source int, _row %s, _key text, '
            '_copy bigint, _fate text)', t.id, t.name);
        here := stage.keyed(format('SELECT _c AS _row FROM ONLY %s AS _c', t.name), t.keys);
        FOR p IN SELECT * FROM stage.pair WHERE id = t.id AND incomparable IS NULL ORDER BY source LOOP
            there := stage.keyed(format('SELECT _row FROM stage.dblink(%L, %L) AS _d(_row %s)', p.connection,
                format('SELECT ROW(%s) FROM ONLY %s', stage.listed(t.names, '%I'), t.name), t.name), t.keys);
            EXECUTE format('INSERT INTO stage.t%s (_source, _row, _key, _copy, _fate) '
                'SELECT %s, a._row, a._key, a._copy, CASE WHEN c._key IS NOT NULL THEN %L END '
                'FROM (%s) AS a LEFT JOIN (%s) AS c USING (_key, _copy) WHERE c._row::text IS DISTINCT FROM a._row::text',
                t.id, p.source, 'the chosen instance has another row with its key', there, here);
        END LOOP;
        EXECUTE format('ANALYZE stage.t%s', t.id);
        RAISE NOTICE '% is compared', t.name;
        COMMIT;
    END LOOP;
END
$$;

-- Two rows with one key, or with values that an index wants once only.
CREATE PROCEDURE stage.find_duplicates() LANGUAGE plpgsql SET search_path = pg_catalog, public AS $$
DECLARE
    t record;
    u record;
    terms text;
    alike text;
BEGIN
    FOR t IN SELECT * FROM stage.relation ORDER BY id LOOP
        EXECUTE format('UPDATE stage.t%1$s AS a SET _fate = %2$L FROM stage.t%1$s AS b WHERE a._fate IS NULL '
            'AND b._key = a._key AND b._copy = a._copy AND b._source <> a._source AND b._row::text <> a._row::text',
            t.id, 'another instance has another row with its key');
        FOR u IN
            SELECT i.indexrelid::regclass::text AS name, coalesce(pg_get_expr(i.indpred, i.indrelid), 'true') AS holds,
                CASE WHEN i.indnullsnotdistinct THEN 'IS NOT DISTINCT FROM' ELSE '=' END AS equal,
                ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, true) FROM generate_series(1, i.indnkeyatts) AS n) AS terms
            FROM pg_index AS i WHERE i.indrelid = t.rel AND i.indisunique
        LOOP
            SELECT string_agg(format('(%s) AS _u%s', term, n), ', ' ORDER BY n),
                string_agg(format('a._u%s %s b._u%1$s', n, u.equal), ' AND ' ORDER BY n)
            INTO terms, alike FROM unnest(u.terms) WITH ORDINALITY AS each(term, n);
            EXECUTE format('WITH other AS MATERIALIZED (SELECT _n, _key, _copy, %2$s FROM '
                '(SELECT _n, _key, _copy, (_row).* FROM stage.t%1$s WHERE _fate IS NULL) AS _q WHERE %3$s) '
                'UPDATE stage.t%1$s AS t SET _fate = %6$L FROM ('
                'SELECT a._n FROM other AS a JOIN (SELECT %2$s FROM ONLY %4$s WHERE %3$s) AS b ON %5$s UNION '
                'SELECT a._n FROM other AS a JOIN other AS b ON %5$s AND (a._key, a._copy) <> (b._key, b._copy)'
                ') AS found WHERE found._n = t._n',
                t.id, terms, u.holds, t.name, alike, format('another row has its values in the unique index %s', u.name));
        END LOOP;
    END LOOP;
END
$$;

-- A row that refers to one which stays beside would refer to another row here, or to none. So it stays beside too, and what
-- refers to it, and so on.
CREATE PROCEDURE stage.follow_references() LANGUAGE plpgsql AS $$
DECLARE
    f record;
    changed bigint;
    touched bigint;
BEGIN
    LOOP
        touched := 0;
        FOR f IN
            SELECT child.id AS child, parent.id AS parent, c.confrelid::regclass::text AS name,
                string_agg(format('(b._row).%1$I = (a._row).%2$I', r.attname, l.attname), ' AND ') AS staged,
                string_agg(format('b.%1$I = (a._row).%2$I', r.attname, l.attname), ' AND ') AS live,
                string_agg(format('(a._row).%I IS NOT NULL', l.attname), ' AND ') AS refers
            FROM pg_constraint AS c JOIN stage.relation AS child ON child.rel = c.conrelid
            LEFT JOIN stage.relation AS parent ON parent.rel = c.confrelid
            CROSS JOIN unnest(c.conkey, c.confkey) AS k(l, r)
            JOIN pg_attribute AS l ON l.attrelid = c.conrelid AND l.attnum = k.l
            JOIN pg_attribute AS r ON r.attrelid = c.confrelid AND r.attnum = k.r
            WHERE c.contype = 'f'
            GROUP BY c.oid, child.id, parent.id, c.confrelid
        LOOP
            EXECUTE format('UPDATE stage.t%s AS a SET _fate = %L WHERE _fate IS NULL AND %s '
                'AND NOT EXISTS (SELECT FROM stage.pair AS p WHERE p.id = %L AND p.source = a._source AND p.incomparable IS NULL)',
                f.child, format('it refers to %s, which cannot be compared', f.name), f.refers, f.parent);
            GET DIAGNOSTICS changed = ROW_COUNT;
            touched := touched + changed;
            CONTINUE WHEN f.parent IS NULL;
            EXECUTE format('UPDATE stage.t%s AS a SET _fate = %L FROM stage.t%s AS b WHERE a._fate IS NULL '
                'AND b._fate IS NOT NULL AND b._source = a._source AND %s',
                f.child, format('it refers to a row of %s that stays beside', f.name), f.parent, f.staged);
            GET DIAGNOSTICS changed = ROW_COUNT;
            touched := touched + changed;
            EXECUTE format('UPDATE stage.t%1$s AS a SET _fate = %2$L WHERE _fate IS NULL AND %3$s '
                'AND NOT EXISTS (SELECT FROM %4$s AS b WHERE %5$s) '
                'AND NOT EXISTS (SELECT FROM stage.t%6$s AS b WHERE b._source = a._source AND b._fate IS NULL AND %7$s)',
                f.child, format('it refers to a row of %s that is nowhere', f.name), f.refers, f.name, f.live, f.parent, f.staged);
            GET DIAGNOSTICS changed = ROW_COUNT;
            touched := touched + changed;
            -- One row cannot be taken from one instance and stay beside for another.
            EXECUTE format('UPDATE stage.t%1$s AS a SET _fate = b._fate FROM stage.t%1$s AS b WHERE a._fate IS NULL '
                'AND b._fate IS NOT NULL AND b._key = a._key AND b._copy = a._copy', f.child);
            GET DIAGNOSTICS changed = ROW_COUNT;
            touched := touched + changed;
        END LOOP;
        EXIT WHEN touched = 0;
    END LOOP;
END
$$;

-- Rows by what becomes of them, with the keys of the first ones.
CREATE TABLE stage.outcome (name text, source int, fate text, rows bigint, keys text[]);

CREATE PROCEDURE stage.count() LANGUAGE plpgsql AS $$
DECLARE
    t record;
    large bigint;
    s record;
BEGIN
    FOR t IN SELECT * FROM stage.relation ORDER BY id LOOP
        EXECUTE format('INSERT INTO stage.outcome SELECT %2$L, g._source, coalesce(g._fate, %3$L), g.rows, CASE WHEN %4$L THEN '
            'ARRAY(SELECT _key FROM stage.t%1$s AS k WHERE k._source = g._source AND k._fate IS NOT DISTINCT FROM g._fate '
            'ORDER BY _n LIMIT 10) END FROM (SELECT _source, _fate, count(*) AS rows FROM stage.t%1$s GROUP BY _source, _fate) AS g',
            t.id, t.name, 'only there', t.keys IS NOT NULL);
    END LOOP;
    INSERT INTO stage.outcome SELECT p.name, p.source, p.incomparable, r.rows
    FROM stage.pair AS p JOIN stage.recorded AS r USING (source, name) WHERE p.incomparable IS NOT NULL AND r.rows > 0;
    INSERT INTO stage.outcome SELECT p.name, p.source, 'the same', r.rows - coalesce(sum(o.rows), 0)
    FROM stage.pair AS p JOIN stage.recorded AS r USING (source, name) LEFT JOIN stage.outcome AS o USING (source, name)
    WHERE p.incomparable IS NULL GROUP BY p.name, p.source, r.rows;
    FOR s IN SELECT * FROM stage.source WHERE source > 0 LOOP
        SELECT n INTO large FROM stage.dblink(s.connection, 'SELECT count(*) FROM pg_largeobject_metadata') AS d(n bigint);
        IF large > 0 THEN
            RAISE EXCEPTION '% has % large objects, which have no table to stand beside. Fix: choose it, or save and delete them',
                s.name, large;
        END IF;
    END LOOP;
END
$$;

CREATE FUNCTION stage.report() RETURNS text LANGUAGE sql AS $$
    SELECT jsonb_pretty(jsonb_build_object(
        'chosen', (SELECT name FROM stage.source WHERE source = 0),
        'tables', (SELECT jsonb_object_agg(name, of) FROM (
            SELECT r.name, jsonb_object_agg(s.name, jsonb_build_object('rows', r.rows, 'outcome', coalesce((
                SELECT jsonb_object_agg(o.fate, jsonb_build_object('rows', o.rows, 'keys', o.keys))
                FROM stage.outcome AS o WHERE o.name = r.name AND o.source = r.source), '{}'))) AS of
            FROM stage.recorded AS r JOIN stage.source AS s USING (source) GROUP BY r.name) AS t)))
$$;

CALL stage.load();
CALL stage.find_duplicates();
CALL stage.follow_references();
CALL stage.count();
