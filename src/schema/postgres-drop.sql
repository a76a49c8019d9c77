-- Removes from a Bugzilla on PostgreSQL what `bugzfeed schema postgres` has made. Changes that were not read yet go with the table; this
-- warns how many they were. None is left where bugzfeed still reads and nobody edits for a second.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
BEGIN;
DROP TRIGGER IF EXISTS push_notify_insert ON bugs;
DROP TRIGGER IF EXISTS push_notify_update ON bugs;
DROP FUNCTION IF EXISTS push_notify_bug();
DO $$
DECLARE
    changes bigint := 0;
BEGIN
    IF to_regclass('push_notify') IS NOT NULL THEN
        EXECUTE 'SELECT count(*) FROM push_notify' INTO changes;
    END IF;
    IF changes > 0 THEN
        RAISE WARNING '% changes that were not read yet are dropped with push_notify', changes;
    END IF;
END
$$;
DROP TABLE IF EXISTS push_notify;
COMMIT;
