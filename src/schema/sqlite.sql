-- Makes a Bugzilla on SQLite record each change of a bug in the table push_notify, which bugzfeed reads.
--
-- To be run on Bugzilla's own file, by the account that owns it:
--     bugzfeed schema sqlite | sqlite3 -bail data/db/bugs
-- (Without a table bugs in the file, that says "no such table: main.bugs" and changes nothing: it is not Bugzilla's.)
-- Bugzilla needs no change and no restart. The script may be run again at any time, such as after an error or with a newer bugzfeed: it adds
-- what is missing, replaces what differs, and keeps the table's rows.
--
-- SQLite has no accounts: bugzfeed must run as one that may write the file and the folder that it is in. Don't switch the file to WAL.
--
-- Is it right? `bugzfeed schema --check sqlite:data/db/bugs` finds what is missing. To remove everything again:
--     bugzfeed schema sqlite --drop | sqlite3 -bail data/db/bugs

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
