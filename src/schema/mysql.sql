-- Makes a Bugzilla on MariaDB or MySQL record each change of a bug in the table push_notify, which bugzfeed reads.
--
-- To be run in Bugzilla's own database, BY BUGZILLA'S OWN ACCOUNT, which root allows to have triggers first (here, it is bugs@localhost):
--     mysql -u root -p -e "GRANT TRIGGER ON bugs.* TO bugs@localhost"
--     bugzfeed schema mysql | mysql -u bugs -p bugs
-- Triggers belong to the account that makes them, their "definer", and act with its rights. Made by root, they break Bugzilla's backup:
-- mysqldump by Bugzilla's own account ends at the table bugs (ERROR 1227), and it cannot restore what root has dumped.
-- Bugzilla needs no change and no restart. The script may be run again at any time, such as after an error or with a newer bugzfeed: it
-- adds what is missing, replaces what differs, and keeps the table's rows and its rights.
--
-- An account for bugzfeed, which needs no other right than these:
--     CREATE USER bugzfeed@localhost IDENTIFIED BY '…';
--     GRANT SELECT, DELETE ON bugs.push_notify TO bugzfeed@localhost;
--     GRANT SELECT (bug_id, delta_ts) ON bugs.bugs TO bugzfeed@localhost;
-- (INSERT on push_notify as well, if `bugzfeed notify` is to write there.)
--
-- Is it right? `bugzfeed schema --check mysql://bugs@…` finds what is missing or unsafe. To remove everything again:
--     bugzfeed schema mysql --drop | mysql -u bugs -p bugs
--
-- ERROR 1419 (You do not have the SUPER privilege and binary logging is enabled): the server must trust Bugzilla's account with triggers, now
-- and whenever a dump of Bugzilla's is restored by it. Say this as root, and set the same in the server's configuration; then run this again:
--     SET GLOBAL log_bin_trust_function_creators = 1;
-- ERROR 1142 (TRIGGER command denied): the GRANT of the first line is missing. It must not be taken back either: without it, every edit
-- fails with the same error. ERROR 1449 in every edit: the triggers' account was dropped; run this as Bugzilla's own.

CREATE TABLE IF NOT EXISTS push_notify (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    bug_id INT UNSIGNED NOT NULL,
    delta_ts DATETIME NOT NULL
) ENGINE = InnoDB;

-- MariaDB replaces a trigger while no edit can come between; MySQL, which alone executes the DROP TRIGGER, cannot.
DELIMITER //

/*!50700 DROP TRIGGER IF EXISTS push_notify_insert */ //
CREATE /*M! OR REPLACE */ TRIGGER push_notify_insert AFTER INSERT ON bugs FOR EACH ROW
BEGIN
    INSERT INTO push_notify (bug_id, delta_ts) VALUES (NEW.bug_id, NEW.delta_ts);
END//

-- An edit ends with "UPDATE bugs SET delta_ts = …". Within one second it sets the value that is there already, so that nothing changes at
-- all: that is recorded, too, but only for the bugs of the last ten minutes, since votes, a renamed value of a custom field and sanitycheck.cgi
-- change nothing that is named here, either. Only columns that each Bugzilla has are named, since a trigger that names one that was dropped
-- makes every edit fail. (The edit of a custom field can therefore leave two rows, of which bugzfeed takes the last.)
/*!50700 DROP TRIGGER IF EXISTS push_notify_update */ //
CREATE /*M! OR REPLACE */ TRIGGER push_notify_update AFTER UPDATE ON bugs FOR EACH ROW
BEGIN
    IF NOT (NEW.delta_ts <=> OLD.delta_ts) OR (
        NEW.delta_ts >= LOCALTIMESTAMP - INTERVAL 10 MINUTE
        AND NEW.bug_id <=> OLD.bug_id
        AND NEW.assigned_to <=> OLD.assigned_to
        AND NEW.bug_file_loc <=> OLD.bug_file_loc
        AND NEW.bug_severity <=> OLD.bug_severity
        AND NEW.bug_status <=> OLD.bug_status
        AND NEW.creation_ts <=> OLD.creation_ts
        AND NEW.short_desc <=> OLD.short_desc
        AND NEW.op_sys <=> OLD.op_sys
        AND NEW.priority <=> OLD.priority
        AND NEW.product_id <=> OLD.product_id
        AND NEW.rep_platform <=> OLD.rep_platform
        AND NEW.reporter <=> OLD.reporter
        AND NEW.version <=> OLD.version
        AND NEW.component_id <=> OLD.component_id
        AND NEW.resolution <=> OLD.resolution
        AND NEW.target_milestone <=> OLD.target_milestone
        AND NEW.qa_contact <=> OLD.qa_contact
        AND NEW.status_whiteboard <=> OLD.status_whiteboard
        AND NEW.lastdiffed <=> OLD.lastdiffed
        AND NEW.everconfirmed <=> OLD.everconfirmed
        AND NEW.reporter_accessible <=> OLD.reporter_accessible
        AND NEW.cclist_accessible <=> OLD.cclist_accessible
        AND NEW.estimated_time <=> OLD.estimated_time
        AND NEW.remaining_time <=> OLD.remaining_time
        AND NEW.deadline <=> OLD.deadline
    ) THEN
        INSERT INTO push_notify (bug_id, delta_ts) VALUES (NEW.bug_id, NEW.delta_ts);
    END IF;
END//

DELIMITER ;
