-- Makes a Bugzilla on PostgreSQL record each change of a bug in the table push_notify, which bugzfeed reads.
--
-- To be run once, in Bugzilla's own database, by Bugzilla's own account or by a superuser:
--     bugzfeed schema postgres | psql bugs
-- Bugzilla needs no change and no restart. To remove everything again:
--     bugzfeed schema postgres --drop | psql bugs
--
-- An account for bugzfeed, which needs no other right than these:
--     CREATE ROLE bugzfeed LOGIN PASSWORD '…';
--     GRANT SELECT, DELETE ON push_notify TO bugzfeed;
-- (INSERT as well, and USAGE ON SEQUENCE push_notify_id_seq, if `bugzfeed notify` is to write here.)
--
-- The triggers act with the rights of who edits: Bugzilla's account. So the table is given to the owner of Bugzilla's table bugs, whoever
-- runs this. `bugzfeed schema --check postgres://…` finds what may be wrong.
-- "relation "push_notify" already exists": run the removal first; nothing was changed then.

BEGIN;

CREATE TABLE push_notify (
    id BIGSERIAL PRIMARY KEY,
    bug_id INTEGER NOT NULL,
    delta_ts TIMESTAMP(0) WITHOUT TIME ZONE NOT NULL
);

CREATE FUNCTION push_notify_bug() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO push_notify (bug_id, delta_ts) VALUES (NEW.bug_id, NEW.delta_ts);
    NOTIFY push_notify;
    RETURN NULL;
END
$$;

CREATE TRIGGER push_notify_insert AFTER INSERT ON bugs
    FOR EACH ROW EXECUTE PROCEDURE push_notify_bug();

-- Each edit sets delta_ts, and this counts even when the value stays the same, as in the second edit within one second.
CREATE TRIGGER push_notify_update AFTER UPDATE OF delta_ts ON bugs
    FOR EACH ROW EXECUTE PROCEDURE push_notify_bug();

DO $$
DECLARE
    owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'bugs'::regclass);
BEGIN
    EXECUTE format('ALTER TABLE push_notify OWNER TO %I', owner);
    EXECUTE format('ALTER FUNCTION push_notify_bug() OWNER TO %I', owner);
END
$$;

COMMIT;
