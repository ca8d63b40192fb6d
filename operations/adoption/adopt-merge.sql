-- Put the rows of the others in: those that conflict with nothing into their tables if :take, all else into adopted.rows.
-- Then count every row of every instance again, in its own database, and remove what was made for the comparison.
-- Triggers of the application, and checks of references between half-filled tables, have no part in it; the restore into the
-- live database checks every reference again.
\set ON_ERROR_STOP on
SET session_replication_role = replica;
SET ROLE gx_owner;
CREATE SCHEMA adopted;
CREATE TABLE adopted.rows (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    source text NOT NULL,
    table_name text NOT NULL,
    columns text[] NOT NULL,
    key text,
    reason text NOT NULL,
    content text NOT NULL
);
COMMENT ON TABLE adopted.rows IS
    'Rows of former instances that are not in their tables. SELECT (content::public.wallet).* reads those of public.wallet.';
RESET ROLE;

CREATE TABLE stage.taken (name text, rows bigint, hash numeric);

CREATE PROCEDURE stage.merge(take boolean) LANGUAGE plpgsql AS $$
DECLARE
    t record;
    p record;
    writable text[];
    taken text;
BEGIN
    FOR t IN SELECT * FROM stage.relation ORDER BY id LOOP
        IF take THEN
            SELECT array_agg(a.attname::text ORDER BY a.attnum) INTO writable FROM pg_attribute AS a
            WHERE a.attrelid = t.rel AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '';
            taken := format('SELECT DISTINCT ON (_key, _copy) _row FROM stage.t%s WHERE _fate IS NULL', t.id);
            EXECUTE format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM (%s) AS _q', t.name,
                stage.listed(writable, '%I'), stage.listed(writable, '(_row).%I'), taken);
            EXECUTE format('INSERT INTO stage.taken SELECT %L, count(*), coalesce(sum(hashtextextended(_row::text, 0)::numeric), 0) '
                'FROM (%s) AS _q', t.name, taken);
        END IF;
        EXECUTE format('INSERT INTO adopted.rows (source, table_name, columns, key, reason, content) '
            'SELECT s.name, %L, %L::text[], CASE WHEN %L THEN _key END, coalesce(_fate, %L), _row::text '
            'FROM stage.t%s JOIN stage.source AS s ON s.source = _source WHERE _fate IS NOT NULL OR NOT %L '
            'ORDER BY _source, _key, _copy', t.name, t.names, t.keys IS NOT NULL, 'only there', t.id, take);
        COMMIT;
    END LOOP;
    FOR p IN SELECT * FROM stage.pair WHERE incomparable IS NOT NULL ORDER BY source, name LOOP
        EXECUTE format('INSERT INTO adopted.rows (source, table_name, columns, reason, content) '
            'SELECT %L, %L, %L::text[], %L, content FROM stage.dblink(%L, %L) AS d(content text)', p.instance, p.name, p.names,
            p.incomparable, p.connection, format('SELECT _c::text FROM ONLY %s AS _c ORDER BY 1', p.name));
        COMMIT;
    END LOOP;
END
$$;

-- Ahead of the highest value of all instances, and of every row that uses the sequence, whether it was taken or not.
CREATE PROCEDURE stage.move_sequences() LANGUAGE plpgsql AS $$
DECLARE
    q record;
    s record;
    highest bigint;
    other bigint;
BEGIN
    FOR q IN
        SELECT c.oid::regclass::text AS name, n.nspname, c.relname, CASE WHEN sq.seqincrement < 0 THEN -1 ELSE 1 END AS direction, r.id, r.name AS used_by, a.attname
        FROM pg_sequence AS sq JOIN pg_class AS c ON c.oid = sq.seqrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
        LEFT JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
            AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
        LEFT JOIN stage.relation AS r ON r.rel = d.refobjid
        LEFT JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE n.nspname NOT IN ('stage', 'adopted')
    LOOP
        SELECT last_value * q.direction INTO highest FROM pg_sequences WHERE schemaname = q.nspname AND sequencename = q.relname;
        FOR s IN SELECT * FROM stage.source WHERE source > 0 LOOP
            SELECT max(v) * q.direction INTO other FROM stage.dblink(s.connection, format(
                'SELECT last_value FROM pg_sequences WHERE schemaname = %L AND sequencename = %L', q.nspname, q.relname)) AS d(v bigint);
            highest := greatest(highest, other);
        END LOOP;
        IF q.id IS NOT NULL THEN
            EXECUTE format('SELECT max(v * %s) FROM (SELECT %2$I::bigint FROM ONLY %3$s UNION ALL SELECT (_row).%2$I::bigint '
                'FROM stage.t%4$s) AS u(v)', q.direction, q.attname, q.used_by, q.id) INTO other;
            highest := greatest(highest, other);
        END IF;
        IF highest IS NOT NULL THEN
            PERFORM setval(q.name::regclass, highest * q.direction);
        END IF;
    END LOOP;
END
$$;

CREATE PROCEDURE stage.verify() LANGUAGE plpgsql AS $$
DECLARE
    p record;
    r record;
    missing numeric;
    counted numeric;
    found record;
BEGIN
    FOR r IN SELECT source.name AS instance, recorded.name FROM stage.recorded JOIN stage.source USING (source)
        WHERE source > 0 AND (source, recorded.name) NOT IN (SELECT pair.source, pair.name FROM stage.pair)
    LOOP
        RAISE EXCEPTION '% of % was not looked at', r.name, r.instance;
    END LOOP;
    FOR p IN SELECT pair.*, recorded.rows FROM stage.pair JOIN stage.recorded USING (source, name) LOOP
        EXECUTE format('SELECT coalesce(sum(greatest(0, a.n - coalesce(l.n, 0) - coalesce(b.n, 0))), 0), coalesce(sum(a.n), 0) '
            'FROM stage.dblink(%1$L, %2$L) AS a(h bigint, n bigint) '
            'LEFT JOIN (%3$s) AS l USING (h) LEFT JOIN (SELECT hashtextextended(content, 0) AS h, count(*) AS n FROM adopted.rows '
            'WHERE source = %4$L AND table_name = %5$L GROUP BY 1) AS b USING (h)', p.connection,
            format('SELECT hashtextextended(%s, 0), count(*) FROM ONLY %s AS _c GROUP BY 1',
                CASE WHEN p.incomparable IS NULL THEN format('ROW(%s)::text', (
                    SELECT stage.listed(names, '%I') FROM stage.relation WHERE id = p.id)) ELSE '_c::text' END, p.name),
            CASE WHEN p.incomparable IS NULL
                THEN format('SELECT hashtextextended(_c::text, 0) AS h, count(*) AS n FROM ONLY %s AS _c GROUP BY 1', p.name)
                ELSE 'SELECT NULL::bigint AS h, 0::bigint AS n' END,
            p.instance, p.name) INTO missing, counted;
        IF counted <> p.rows THEN
            RAISE EXCEPTION '% of % has % rows, and % were recorded at its dump', p.name, p.instance, counted, p.rows;
        END IF;
        IF missing > 0 THEN
            RAISE EXCEPTION '% rows of % of % are neither in the table nor in adopted.rows', missing, p.name, p.instance;
        END IF;
    END LOOP;
    FOR r IN SELECT * FROM stage.recorded WHERE source = 0 LOOP
        EXECUTE format('SELECT count(*) AS rows, coalesce(sum(hashtextextended(_c::text, 0)::numeric), 0) AS hash FROM ONLY %s AS _c',
            r.name) INTO found;
        SELECT found.rows - coalesce(sum(t.rows), 0) AS rows, found.hash - coalesce(sum(t.hash), 0) AS hash INTO found
        FROM stage.taken AS t WHERE t.name = r.name;
        IF found.rows <> r.rows OR found.hash <> r.hash THEN
            RAISE EXCEPTION '% no longer holds the rows of the chosen instance', r.name;
        END IF;
    END LOOP;
END
$$;

CALL stage.merge(:'take');
CALL stage.move_sequences();
CALL stage.verify();
SET client_min_messages = warning;
DROP SCHEMA stage CASCADE;
