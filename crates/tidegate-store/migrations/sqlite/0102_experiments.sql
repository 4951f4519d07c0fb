-- The part that a call takes in an experiment, as JSON; NULL for most calls.
ALTER TABLE calls ADD COLUMN experiment TEXT;

-- What is known of an experiment's arms: sums as JSON, one row for each journal that feeds them, written together with
-- its calls. `run` tells definitions of the same name apart.
CREATE TABLE experiment_sums (
    experiment TEXT NOT NULL,
    run        TEXT NOT NULL,
    journal    TEXT NOT NULL,
    sums       TEXT NOT NULL,
    PRIMARY KEY (experiment, run, journal)
) WITHOUT ROWID;

-- What was decided: arms that are stopped, weights, the step of a canary. `version` grows by one with each decision, so
-- that of two replicas that decide at once one does.
CREATE TABLE experiment_states (
    experiment    TEXT    NOT NULL PRIMARY KEY,
    run           TEXT    NOT NULL,
    version       INTEGER NOT NULL,
    state         TEXT    NOT NULL,
    changed_at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- What callers said of answers: one row for each call and caller, scores in millionths.
CREATE TABLE feedback (
    call_id       BLOB    NOT NULL,
    started_at_ms INTEGER NOT NULL,
    caller        TEXT    NOT NULL,
    at_ms         INTEGER NOT NULL,
    score         INTEGER,
    label         TEXT,
    comment       TEXT,
    experiment    TEXT,
    run           TEXT,
    arm           TEXT,
    unit          INTEGER,
    PRIMARY KEY (call_id, caller)
) WITHOUT ROWID;

CREATE INDEX feedback_of_run ON feedback (experiment, run) WHERE experiment IS NOT NULL;
