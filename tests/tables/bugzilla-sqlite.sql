-- Bugzilla's own tables, as its checksetup.pl makes them, as far as bugzfeed has to do with them.
CREATE TABLE bugs (
    bug_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    assigned_to INTEGER NOT NULL,
    bug_file_loc TEXT NOT NULL,
    bug_severity VARCHAR(64) NOT NULL,
    bug_status VARCHAR(64) NOT NULL,
    creation_ts DATETIME,
    delta_ts DATETIME NOT NULL,
    short_desc VARCHAR(255) NOT NULL,
    op_sys VARCHAR(64) NOT NULL,
    priority VARCHAR(64) NOT NULL,
    product_id SMALLINT NOT NULL,
    rep_platform VARCHAR(64) NOT NULL,
    reporter INTEGER NOT NULL,
    version VARCHAR(64) NOT NULL,
    component_id INTEGER NOT NULL,
    resolution VARCHAR(64) NOT NULL DEFAULT '',
    target_milestone VARCHAR(64) NOT NULL DEFAULT '---',
    qa_contact INTEGER,
    status_whiteboard TEXT NOT NULL,
    lastdiffed DATETIME,
    everconfirmed SMALLINT NOT NULL,
    reporter_accessible SMALLINT NOT NULL DEFAULT 1,
    cclist_accessible SMALLINT NOT NULL DEFAULT 1,
    estimated_time DECIMAL(7, 2) NOT NULL DEFAULT 0,
    remaining_time DECIMAL(7, 2) NOT NULL DEFAULT 0,
    deadline DATETIME,
    cf_custom VARCHAR(255) NOT NULL DEFAULT ''
);

CREATE TABLE bugs_activity (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    bug_id INTEGER NOT NULL,
    who INTEGER NOT NULL,
    bug_when DATETIME NOT NULL,
    fieldid INTEGER NOT NULL,
    added VARCHAR(255),
    removed VARCHAR(255),
    FOREIGN KEY (bug_id) REFERENCES bugs (bug_id) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE longdescs (
    comment_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    bug_id INTEGER NOT NULL,
    who INTEGER NOT NULL,
    bug_when DATETIME NOT NULL,
    thetext TEXT NOT NULL,
    FOREIGN KEY (bug_id) REFERENCES bugs (bug_id) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE INDEX bugs_creation_ts_idx ON bugs (creation_ts);
CREATE INDEX bugs_delta_ts_idx ON bugs (delta_ts);
