-- Bugzilla's own tables, as its checksetup.pl makes them, as far as bugzfeed has to do with them.
CREATE TABLE bugs (
    bug_id SERIAL NOT NULL PRIMARY KEY,
    assigned_to INTEGER NOT NULL,
    bug_file_loc TEXT NOT NULL,
    bug_severity VARCHAR(64) NOT NULL,
    bug_status VARCHAR(64) NOT NULL,
    creation_ts TIMESTAMP(0) WITHOUT TIME ZONE,
    delta_ts TIMESTAMP(0) WITHOUT TIME ZONE NOT NULL,
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
    lastdiffed TIMESTAMP(0) WITHOUT TIME ZONE,
    everconfirmed SMALLINT NOT NULL,
    reporter_accessible SMALLINT NOT NULL DEFAULT 1,
    cclist_accessible SMALLINT NOT NULL DEFAULT 1,
    estimated_time DECIMAL(7, 2) NOT NULL DEFAULT 0,
    remaining_time DECIMAL(7, 2) NOT NULL DEFAULT 0,
    deadline TIMESTAMP(0) WITHOUT TIME ZONE,
    cf_custom VARCHAR(255) NOT NULL DEFAULT ''
);

CREATE TABLE bugs_activity (
    id SERIAL NOT NULL PRIMARY KEY,
    bug_id INTEGER NOT NULL,
    who INTEGER NOT NULL,
    bug_when TIMESTAMP(0) WITHOUT TIME ZONE NOT NULL,
    fieldid INTEGER NOT NULL,
    added VARCHAR(255),
    removed VARCHAR(255),
    FOREIGN KEY (bug_id) REFERENCES bugs (bug_id) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE TABLE longdescs (
    comment_id SERIAL NOT NULL PRIMARY KEY,
    bug_id INTEGER NOT NULL,
    who INTEGER NOT NULL,
    bug_when TIMESTAMP(0) WITHOUT TIME ZONE NOT NULL,
    thetext TEXT NOT NULL,
    FOREIGN KEY (bug_id) REFERENCES bugs (bug_id) ON DELETE CASCADE ON UPDATE CASCADE
);

CREATE INDEX bugs_creation_ts_idx ON bugs (creation_ts);
CREATE INDEX bugs_delta_ts_idx ON bugs (delta_ts);
