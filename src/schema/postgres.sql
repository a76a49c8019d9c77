-- Makes a Bugzilla on PostgreSQL record each change of a bug in the table push_notify, which bugzfeed reads.
--
-- To be run in Bugzilla's own database, by Bugzilla's own account (here, it is bugs) or by a superuser:
--     bugzfeed schema postgres | psql -h localhost -U bugs bugs
-- Bugzilla needs no change and no restart. The script may be run again at any time, such as after an error, a restore, or with a newer
-- bugzfeed: it adds what is missing, replaces what differs, and keeps the table's rows and its rights. After an error, nothing is changed.
--
-- An account for bugzfeed, which needs no other right than these:
--     CREATE ROLE bugzfeed LOGIN PASSWORD '…';
--     GRANT SELECT, DELETE ON push_notify TO bugzfeed;
--     GRANT SELECT (bug_id, delta_ts) ON bugs TO bugzfeed;
-- (INSERT on push_notify as well, and USAGE ON SEQUENCE push_notify_id_seq, if `bugzfeed notify` is to write there.)
-- A dump by Bugzilla's manual (pg_dump --no-privileges) leaves the GRANTs out: say them again after a restore.
--
-- The triggers act with the rights of Bugzilla's account, which owns the table bugs, whoever edits and whoever runs this.
-- Is it right? `bugzfeed schema --check postgres://bugs@…` finds what is missing or unsafe. To remove everything again:
--     bugzfeed schema postgres --drop | psql -h localhost -U bugs bugs

\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
BEGIN;

-- What is made belongs into the schema of Bugzilla's table bugs.
DO $$
BEGIN
    PERFORM set_config('search_path', quote_ident(n.nspname), TRUE)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = 'bugs'::regclass;
END
$$;

CREATE TABLE IF NOT EXISTS push_notify (
    id BIGSERIAL PRIMARY KEY,
    bug_id INTEGER NOT NULL,
    delta_ts TIMESTAMP(0) WITHOUT TIME ZONE NOT NULL
);

-- An edit must not fail for want of the table. bugzfeed says that it is missing.
CREATE OR REPLACE FUNCTION push_notify_bug() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF to_regclass('push_notify') IS NULL THEN
        RAISE WARNING 'the table push_notify is missing: the change of bug % is not recorded', NEW.bug_id;
        RETURN NULL;
    END IF;
    -- A restore of the data alone sets the sequence back to what it was, below the rows that it has just made.
    LOOP
        INSERT INTO push_notify (bug_id, delta_ts) VALUES (NEW.bug_id, NEW.delta_ts) ON CONFLICT (id) DO NOTHING;
        EXIT WHEN FOUND;
    END LOOP;
    NOTIFY push_notify;
    RETURN NULL;
END
$$;

DROP TRIGGER IF EXISTS push_notify_insert ON bugs;
CREATE TRIGGER push_notify_insert AFTER INSERT ON bugs
    FOR EACH ROW EXECUTE PROCEDURE push_notify_bug();

-- Each edit sets delta_ts, and this counts even when the value stays the same, as in the second edit within one second.
DROP TRIGGER IF EXISTS push_notify_update ON bugs;
CREATE TRIGGER push_notify_update AFTER UPDATE OF delta_ts ON bugs
    FOR EACH ROW EXECUTE PROCEDURE push_notify_bug();

-- The function finds the table by a search_path of its own, whatever that of the editor is. A temporary table of this name comes last.
DO $$
DECLARE
    owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'bugs'::regclass);
BEGIN
    EXECUTE format('ALTER TABLE push_notify OWNER TO %I', owner);
    EXECUTE format('ALTER FUNCTION push_notify_bug() OWNER TO %I', owner);
    EXECUTE format('ALTER FUNCTION push_notify_bug() SET search_path = %s, pg_temp', current_setting('search_path'));
END
$$;

COMMIT;
