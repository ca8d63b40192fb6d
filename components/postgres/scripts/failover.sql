-- What the role of a switchover or failover may do, and no more: ask an instance how far it is, bind a standby to one primary,
-- have a primary step down, promote, checkpoint. Included by reconcile.sql, so that a database of any age has it.
SET client_min_messages = warning;
SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'gx_failover') AS missing \gset
\if :missing
CREATE ROLE gx_failover LOGIN CONNECTION LIMIT 8;
\endif
GRANT pg_checkpoint TO gx_failover;
GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO gx_failover;
CREATE SCHEMA IF NOT EXISTS failover;
GRANT USAGE ON SCHEMA failover TO gx_failover;

-- One line: role, system identifier, timeline, position, the hosts it receives from, the one it is bound to, confirming standbys.
--
-- The position is the end of what is safe on this instance's disk. WAL is one stream of bytes per timeline, so of two instances
-- on one timeline the higher position has everything of the lower. The timeline is that of the newest WAL at hand: the control
-- file names an older one until the next checkpoint, and a history file may be here before any of its WAL.
CREATE OR REPLACE FUNCTION failover.status() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT concat_ws(' ',
  CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE 'primary' END,
  (SELECT system_identifier FROM pg_control_system()),
  (SELECT max(('x' || left(name, 8))::bit(32)::int) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'),
  CASE WHEN pg_is_in_recovery()
    THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) ELSE pg_current_wal_flush_lsn() END - '0/0'::pg_lsn,
  coalesce((SELECT substring(conninfo FROM 'host=(\S+)') FROM pg_stat_wal_receiver WHERE status <> 'stopping'), '-'),
  coalesce(nullif(regexp_replace(substring(current_setting('primary_conninfo') FROM 'host=(\S+)'), '.*,.*', ''), ''), '-'),
  (SELECT count(*) FROM pg_stat_replication
   WHERE application_name ~ '^postgres-[0-9]+$' AND state = 'streaming' AND sync_state = 'quorum'))
$$;

-- Bind a standby: from now on it receives from that instance alone, and so confirms commits to no other. It lasts over
-- restarts, in a file beside the data that postgresql.conf includes.
CREATE OR REPLACE FUNCTION failover.follow(host text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF host !~ '^postgres-[0-9]+\.postgres-headless$' THEN
    RAISE EXCEPTION 'no instance: %', host;
  END IF;
  EXECUTE format('COPY (SELECT %L) TO %L',
    format('primary_conninfo = ''%s''',
      replace(regexp_replace(current_setting('primary_conninfo'), 'host=\S+', 'host=' || host), '''', '''''')),
    current_setting('data_directory') || '/../follow.conf');
  PERFORM pg_reload_conf();
END
$$;

-- Ask the primary's container to stop the server and start it again as a standby; it looks every few seconds.
CREATE OR REPLACE FUNCTION failover.step_down() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION 'this instance is no primary';
  END IF;
  EXECUTE format('COPY (SELECT) TO %L', current_setting('unix_socket_directories') || '/step-down');
END
$$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA failover FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA failover TO gx_failover;
RESET client_min_messages;
