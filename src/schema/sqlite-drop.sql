-- Removes from a Bugzilla on SQLite what `bugzfeed schema sqlite` has made, with the changes that were not read yet.
BEGIN IMMEDIATE;
DROP TRIGGER IF EXISTS push_notify_insert;
DROP TRIGGER IF EXISTS push_notify_update;
DROP TABLE IF EXISTS push_notify;
COMMIT;
