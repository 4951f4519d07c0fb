-- What keys and teams need of the ledger, and sums kept beside it: reports of months and limits that last must not read
-- millions of calls. Expands only: an older version can go on writing while this one starts, its calls are then missing
-- from the sums.
ALTER TABLE calls ADD COLUMN organization_id TEXT;
ALTER TABLE calls ADD COLUMN charge_nanodollars INTEGER;
ALTER TABLE calls ADD COLUMN is_estimated BOOLEAN NOT NULL DEFAULT FALSE;

-- Sums by hour and by day. The empty string stands for what a call does not have: a key cannot hold NULL.
CREATE TABLE usage_hours (
    bucket_ms               INTEGER NOT NULL,
    organization_id         TEXT    NOT NULL,
    team_id                 TEXT    NOT NULL,
    model                   TEXT    NOT NULL,
    provider                TEXT    NOT NULL,
    upstream_model          TEXT    NOT NULL,
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
    -- What was charged: the charge where there is one, else the cost.
    charge_nanodollars      INTEGER NOT NULL,
    unpriced                INTEGER NOT NULL,
    estimated               INTEGER NOT NULL,
    duration_us             INTEGER NOT NULL,
    longest_duration_us     INTEGER NOT NULL,
    first_tokens            INTEGER NOT NULL,
    time_to_first_token_us  INTEGER NOT NULL,
    PRIMARY KEY (bucket_ms, organization_id, team_id, model, provider, upstream_model)
) WITHOUT ROWID;

INSERT INTO usage_hours
SELECT
    started_at_ms / 3600000 * 3600000,
    '',
    COALESCE(team_id, ''),
    COALESCE(model, ''),
    COALESCE(provider, ''),
    COALESCE(upstream_model, ''),
    COUNT(*),
    COUNT(*) FILTER (WHERE outcome = 'answered'),
    COUNT(*) FILTER (WHERE outcome = 'failed'),
    COUNT(*) FILTER (WHERE outcome = 'refused'),
    COUNT(*) FILTER (WHERE outcome = 'cancelled'),
    SUM(input_tokens),
    SUM(cache_read_tokens),
    SUM(cache_write_5m_tokens),
    SUM(cache_write_1h_tokens),
    SUM(input_audio_tokens),
    SUM(output_tokens),
    SUM(reasoning_tokens),
    SUM(output_audio_tokens),
    SUM(web_searches),
    COALESCE(SUM(cost_nanodollars), 0),
    COALESCE(SUM(cost_nanodollars), 0),
    COUNT(*) FILTER (WHERE cost_nanodollars IS NULL AND (outcome = 'answered' OR input_tokens + output_tokens > 0)),
    0,
    SUM(duration_us),
    MAX(duration_us),
    COUNT(time_to_first_token_us),
    COALESCE(SUM(time_to_first_token_us), 0)
FROM calls
GROUP BY 1, 2, 3, 4, 5, 6;

CREATE TABLE usage_days (
    bucket_ms               INTEGER NOT NULL,
    organization_id         TEXT    NOT NULL,
    team_id                 TEXT    NOT NULL,
    model                   TEXT    NOT NULL,
    provider                TEXT    NOT NULL,
    upstream_model          TEXT    NOT NULL,
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
    PRIMARY KEY (bucket_ms, organization_id, team_id, model, provider, upstream_model)
) WITHOUT ROWID;

INSERT INTO usage_days
SELECT
    bucket_ms / 86400000 * 86400000, organization_id, team_id, model, provider, upstream_model,
    SUM(calls), SUM(answered), SUM(failed), SUM(refused), SUM(cancelled),
    SUM(input_tokens), SUM(cache_read_tokens), SUM(cache_write_5m_tokens), SUM(cache_write_1h_tokens),
    SUM(input_audio_tokens), SUM(output_tokens), SUM(reasoning_tokens), SUM(output_audio_tokens), SUM(web_searches),
    SUM(cost_nanodollars), SUM(charge_nanodollars), SUM(unpriced), SUM(estimated),
    SUM(duration_us), MAX(longest_duration_us), SUM(first_tokens), SUM(time_to_first_token_us)
FROM usage_hours
GROUP BY 1, 2, 3, 4, 5, 6;

-- The same sums for whatever can have a limit: `org:…`, `team:…`, `key:…`, `user:…/…`, `tag:…=…`.
-- By time first: what is written lies together, and a start reads the last day of all scopes.
CREATE TABLE scope_hours (
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
    PRIMARY KEY (bucket_ms, scope)
) WITHOUT ROWID;

-- Until now there were no keys: of all scopes only tags can have calls.
INSERT INTO scope_hours
SELECT
    'tag:' || tag.key || '=' || tag.value,
    started_at_ms / 3600000 * 3600000,
    COUNT(*),
    COUNT(*) FILTER (WHERE outcome = 'answered'),
    COUNT(*) FILTER (WHERE outcome = 'failed'),
    COUNT(*) FILTER (WHERE outcome = 'refused'),
    COUNT(*) FILTER (WHERE outcome = 'cancelled'),
    SUM(input_tokens),
    SUM(cache_read_tokens),
    SUM(cache_write_5m_tokens),
    SUM(cache_write_1h_tokens),
    SUM(input_audio_tokens),
    SUM(output_tokens),
    SUM(reasoning_tokens),
    SUM(output_audio_tokens),
    SUM(web_searches),
    COALESCE(SUM(cost_nanodollars), 0),
    COALESCE(SUM(cost_nanodollars), 0),
    COUNT(*) FILTER (WHERE cost_nanodollars IS NULL AND (outcome = 'answered' OR input_tokens + output_tokens > 0)),
    0,
    SUM(duration_us),
    MAX(duration_us),
    COUNT(time_to_first_token_us),
    COALESCE(SUM(time_to_first_token_us), 0)
FROM calls, json_each(calls.tags) AS tag
WHERE calls.tags IS NOT NULL
GROUP BY 1, 2;

-- `key:` stands for calls without a key.
INSERT INTO scope_hours
SELECT
    'key:', bucket_ms,
    SUM(calls), SUM(answered), SUM(failed), SUM(refused), SUM(cancelled),
    SUM(input_tokens), SUM(cache_read_tokens), SUM(cache_write_5m_tokens), SUM(cache_write_1h_tokens),
    SUM(input_audio_tokens), SUM(output_tokens), SUM(reasoning_tokens), SUM(output_audio_tokens), SUM(web_searches),
    SUM(cost_nanodollars), SUM(charge_nanodollars), SUM(unpriced), SUM(estimated),
    SUM(duration_us), MAX(longest_duration_us), SUM(first_tokens), SUM(time_to_first_token_us)
FROM usage_hours
GROUP BY bucket_ms;


-- By scope first: budgets ask for all days of one.
CREATE TABLE scope_days (
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
    PRIMARY KEY (scope, bucket_ms)
) WITHOUT ROWID;

INSERT INTO scope_days
SELECT
    scope, bucket_ms / 86400000 * 86400000,
    SUM(calls), SUM(answered), SUM(failed), SUM(refused), SUM(cancelled),
    SUM(input_tokens), SUM(cache_read_tokens), SUM(cache_write_5m_tokens), SUM(cache_write_1h_tokens),
    SUM(input_audio_tokens), SUM(output_tokens), SUM(reasoning_tokens), SUM(output_audio_tokens), SUM(web_searches),
    SUM(cost_nanodollars), SUM(charge_nanodollars), SUM(unpriced), SUM(estimated),
    SUM(duration_us), MAX(longest_duration_us), SUM(first_tokens), SUM(time_to_first_token_us)
FROM scope_hours
GROUP BY 1, 2;

-- How far each process's journal is in the database: written in the transaction that writes its calls.
CREATE TABLE journal_positions (
    journal_id      TEXT    NOT NULL PRIMARY KEY,
    segment         INTEGER NOT NULL,
    "offset"        INTEGER NOT NULL,
    updated_at_ms   INTEGER NOT NULL
) WITHOUT ROWID;

-- What was said in a call, only where the operator wants it kept. The id begins with the time, so its index serves
-- retention too.
CREATE TABLE bodies (
    call_id             BLOB    NOT NULL,
    started_at_ms       INTEGER NOT NULL,
    request             TEXT,
    request_is_cut      BOOLEAN NOT NULL,
    response            TEXT,
    response_is_cut     BOOLEAN NOT NULL
);

CREATE UNIQUE INDEX bodies_call_id ON bodies (call_id);
