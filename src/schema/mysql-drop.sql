-- Removes from a Bugzilla on MariaDB or MySQL what `bugzfeed schema mysql` has made, with the changes that were not read yet.
DROP TRIGGER IF EXISTS push_notify_insert;
DROP TRIGGER IF EXISTS push_notify_update;
DROP TABLE IF EXISTS push_notify;
