-- Makes a Bugzilla on MariaDB or MySQL record each change of a bug in the table push_notify, which bugzfeed reads.
--
-- To be run once, in Bugzilla's own database, by an account that may create triggers, such as root:
--     bugzfeed schema mysql | mysql bugs
-- Bugzilla needs no change and no restart. To remove everything again:
--     bugzfeed schema mysql --drop | mysql bugs
--
-- An account for bugzfeed, which needs no other right than these:
--     CREATE USER bugzfeed@localhost IDENTIFIED BY '…';
--     GRANT SELECT, DELETE ON bugs.push_notify TO bugzfeed@localhost;
-- (INSERT as well, if `bugzfeed notify` is to write here.)
--
-- ERROR 1419 (You do not have the SUPER privilege and binary logging is enabled): run this as root, or say before it
--     SET GLOBAL log_bin_trust_function_creators = 1;
-- and set it back to 0 after it. ERROR 1050 (Table 'push_notify' already exists): run the removal first.
--
-- The triggers act with the rights of the account that runs this, their "definer". When that account is dropped, every edit in Bugzilla
-- fails with ERROR 1449, so choose one that stays. If it happened: run the removal as another account, then this once more.
-- `bugzfeed schema --check mysql://…` finds that, and whatever else may be wrong.

CREATE TABLE push_notify (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    bug_id INT UNSIGNED NOT NULL,
    delta_ts DATETIME NOT NULL
) ENGINE = InnoDB;

DELIMITER //

CREATE TRIGGER push_notify_insert AFTER INSERT ON bugs FOR EACH ROW
BEGIN
    INSERT INTO push_notify (bug_id, delta_ts) VALUES (NEW.bug_id, NEW.delta_ts);
END//

-- An edit ends with "UPDATE bugs SET delta_ts = …". Within one second it sets the value that is there already, so that nothing changes at
-- all: that is recorded, too, but only for the bugs of the last ten minutes, since votes, a renamed value of a custom field and sanitycheck.cgi
-- change nothing that is named here, either. Only columns that each Bugzilla has are named, since a trigger that names one that was dropped
-- makes every edit fail. (The edit of a custom field can therefore leave two rows, of which bugzfeed takes the last.)
CREATE TRIGGER push_notify_update AFTER UPDATE ON bugs FOR EACH ROW
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
