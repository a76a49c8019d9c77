-- Makes a Bugzilla on SQLite record each change of a bug in the table push_notify, which bugzfeed reads.
--
-- To be run once, on Bugzilla's own file, by the account that owns it:
--     bugzfeed schema sqlite | sqlite3 data/db/bugs
-- Bugzilla needs no change and no restart. Run it again to repair what `bugzfeed schema --check sqlite:data/db/bugs` finds wrong. To remove
-- everything again:
--     bugzfeed schema sqlite --drop | sqlite3 data/db/bugs
--
-- SQLite has no accounts: bugzfeed must run as one that may write the file and the folder that it is in. Don't switch the file to WAL.

BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS push_notify (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    bug_id INTEGER NOT NULL,
    delta_ts TEXT NOT NULL
);

DROP TRIGGER IF EXISTS push_notify_insert;
CREATE TRIGGER push_notify_insert AFTER INSERT ON bugs
BEGIN
    INSERT INTO push_notify (bug_id, delta_ts) VALUES (NEW.bug_id, NEW.delta_ts);
END;

-- Each edit sets delta_ts, and this counts even when the value stays the same, as in the second edit within one second.
DROP TRIGGER IF EXISTS push_notify_update;
CREATE TRIGGER push_notify_update AFTER UPDATE OF delta_ts ON bugs
BEGIN
    INSERT INTO push_notify (bug_id, delta_ts) VALUES (NEW.bug_id, NEW.delta_ts);
END;

COMMIT;
