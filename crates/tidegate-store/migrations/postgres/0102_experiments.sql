-- The part that a call takes in an experiment, as JSON; NULL for most calls.
ALTER TABLE calls ADD COLUMN experiment TEXT;

-- What is known of an experiment's arms: sums as JSON, one row for each journal that feeds them, written together with
-- its calls. `run` tells definitions of the same name apart.
CREATE TABLE experiment_sums (
    experiment TEXT COLLATE "C" NOT NULL,
    run        TEXT COLLATE "C" NOT NULL,
    journal    TEXT COLLATE "C" NOT NULL,
    sums       TEXT NOT NULL,
    PRIMARY KEY (experiment, run, journal)
);

-- What was decided: arms that are stopped, weights, the step of a canary. `version` grows by one with each decision, so
-- that of two replicas that decide at once one does.
CREATE TABLE experiment_states (
    experiment    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    run           TEXT   NOT NULL,
    version       BIGINT NOT NULL,
    state         TEXT   NOT NULL,
    changed_at_ms BIGINT NOT NULL
);

-- What callers said of answers: one row for each call and caller, scores in millionths.
CREATE TABLE feedback (
    call_id       UUID   NOT NULL,
    started_at_ms BIGINT NOT NULL,
    caller        TEXT COLLATE "C" NOT NULL,
    at_ms         BIGINT NOT NULL,
    score         BIGINT,
    label         TEXT,
    comment       TEXT,
    experiment    TEXT COLLATE "C",
    run           TEXT COLLATE "C",
    arm           TEXT COLLATE "C",
    unit          BIGINT,
    PRIMARY KEY (call_id, caller)
);

CREATE INDEX feedback_of_run ON feedback (experiment, run) WHERE experiment IS NOT NULL;
