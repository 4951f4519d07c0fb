-- Sums of keys, end users and tags as batches of calls brought them, and not yet in `scope_hours` and `scope_days`: of very
-- many, each lies in a page of its own there, so they are brought there many batches at a time. What is asked about a scope
-- is in both together. Each batch is sorted by scope, and so can be looked through for one.
CREATE TABLE fresh_batches (
    number        INTEGER NOT NULL PRIMARY KEY,
    scopes        INTEGER NOT NULL,
    written_at_ms INTEGER NOT NULL
);

CREATE TABLE scope_fresh (
    batch                   INTEGER NOT NULL,
    scope                   TEXT    NOT NULL,
    bucket_ms               INTEGER NOT NULL,
    calls                   INTEGER NOT NULL,
    answered                INTEGER NOT NULL,
    failed                  INTEGER NOT NULL,
    refused                 INTEGER NOT NULL,
    cancelled               INTEGER NOT NULL,
    input_tokens            INTEGER NOT NULL,
    cache_read_tokens       INTEGER NOT NULL,
    cache_write_5m_tokens   INTEGER NOT NULL,
    cache_write_1h_tokens   INTEGER NOT NULL,
    input_audio_tokens      INTEGER NOT NULL,
    output_tokens           INTEGER NOT NULL,
    reasoning_tokens        INTEGER NOT NULL,
    output_audio_tokens     INTEGER NOT NULL,
    web_searches            INTEGER NOT NULL,
    cost_nanodollars        INTEGER NOT NULL,
    charge_nanodollars      INTEGER NOT NULL,
    unpriced                INTEGER NOT NULL,
    estimated               INTEGER NOT NULL,
    duration_us             INTEGER NOT NULL,
    longest_duration_us     INTEGER NOT NULL,
    first_tokens            INTEGER NOT NULL,
    time_to_first_token_us  INTEGER NOT NULL,
    PRIMARY KEY (batch, scope, bucket_ms)
) WITHOUT ROWID;
