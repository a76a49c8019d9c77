-- Removes from a Bugzilla on SQLite what `bugzfeed schema sqlite` has made. Changes that were not read yet go with the table; this prints how
-- many they were. None is left where bugzfeed still reads and nobody edits for a second.
BEGIN IMMEDIATE;
DROP TRIGGER IF EXISTS push_notify_insert;
DROP TRIGGER IF EXISTS push_notify_update;
CREATE TABLE IF NOT EXISTS push_notify (id INTEGER PRIMARY KEY, bug_id INTEGER, delta_ts TEXT);
SELECT changes || ' changes that were not read yet are dropped with push_notify'
    FROM (SELECT count(*) AS changes FROM push_notify) WHERE changes > 0;
DROP TABLE push_notify;
COMMIT;
