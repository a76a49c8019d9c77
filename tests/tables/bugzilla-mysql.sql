-- Bugzilla's own tables, as its checksetup.pl makes them, as far as bugzfeed has to do with them.
CREATE TABLE bugs (
    bug_id MEDIUMINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    assigned_to MEDIUMINT NOT NULL,
    bug_file_loc MEDIUMTEXT NOT NULL,
    bug_severity VARCHAR(64) NOT NULL,
    bug_status VARCHAR(64) NOT NULL,
    creation_ts DATETIME,
    delta_ts DATETIME NOT NULL,
    short_desc VARCHAR(255) NOT NULL,
    op_sys VARCHAR(64) NOT NULL,
    priority VARCHAR(64) NOT NULL,
    product_id SMALLINT NOT NULL,
    rep_platform VARCHAR(64) NOT NULL,
    reporter MEDIUMINT NOT NULL,
    version VARCHAR(64) NOT NULL,
    component_id MEDIUMINT NOT NULL,
    resolution VARCHAR(64) NOT NULL DEFAULT '',
    target_milestone VARCHAR(64) NOT NULL DEFAULT '---',
    qa_contact MEDIUMINT,
    status_whiteboard MEDIUMTEXT NOT NULL,
    lastdiffed DATETIME,
    everconfirmed TINYINT NOT NULL,
    reporter_accessible TINYINT NOT NULL DEFAULT 1,
    cclist_accessible TINYINT NOT NULL DEFAULT 1,
    estimated_time DECIMAL(7, 2) NOT NULL DEFAULT 0,
    remaining_time DECIMAL(7, 2) NOT NULL DEFAULT 0,
    deadline DATETIME,
    cf_custom VARCHAR(255) NOT NULL DEFAULT '',
    INDEX bugs_creation_ts_idx (creation_ts),
    INDEX bugs_delta_ts_idx (delta_ts)
) ENGINE = InnoDB CHARACTER SET utf8mb4;

CREATE TABLE bugs_activity (
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    bug_id MEDIUMINT NOT NULL,
    who MEDIUMINT NOT NULL,
    bug_when DATETIME NOT NULL,
    fieldid MEDIUMINT NOT NULL,
    added VARCHAR(255),
    removed VARCHAR(255),
    FOREIGN KEY (bug_id) REFERENCES bugs (bug_id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE = InnoDB CHARACTER SET utf8mb4;

CREATE TABLE longdescs (
    comment_id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    bug_id MEDIUMINT NOT NULL,
    who MEDIUMINT NOT NULL,
    bug_when DATETIME NOT NULL,
    thetext MEDIUMTEXT NOT NULL,
    FOREIGN KEY (bug_id) REFERENCES bugs (bug_id) ON DELETE CASCADE ON UPDATE CASCADE
) ENGINE = InnoDB CHARACTER SET utf8mb4;
