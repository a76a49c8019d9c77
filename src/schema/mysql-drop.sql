-- Removes from a Bugzilla on MariaDB or MySQL what `bugzfeed schema mysql` has made. Changes that were not read yet go with the table; this
-- prints how many they were. None is left where bugzfeed still reads and nobody edits for a second.
DROP TRIGGER IF EXISTS push_notify_insert;
DROP TRIGGER IF EXISTS push_notify_update;
SET @push_notify = IF(
    EXISTS (SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'push_notify'),
    'SELECT COUNT(*) AS `changes that were not read yet, dropped with push_notify:` FROM push_notify HAVING COUNT(*) > 0',
    'DO 0'
);
PREPARE push_notify FROM @push_notify;
EXECUTE push_notify;
DEALLOCATE PREPARE push_notify;
DROP TABLE IF EXISTS push_notify;
