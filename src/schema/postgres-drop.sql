-- Removes from a Bugzilla on PostgreSQL what `bugzfeed schema postgres` has made, with the changes that were not read yet.
BEGIN;
DROP TRIGGER IF EXISTS push_notify_insert ON bugs;
DROP TRIGGER IF EXISTS push_notify_update ON bugs;
DROP FUNCTION IF EXISTS push_notify_bug();
DROP TABLE IF EXISTS push_notify;
COMMIT;
