-- Sums kept beside the ledger: reports of months and limits that last must not read millions of calls.
-- The empty string stands for what a call does not have: a key cannot hold NULL.
CREATE TABLE usage_hours (
    bucket_ms               BIGINT NOT NULL,
    organization_id         TEXT COLLATE "C" NOT NULL,
    team_id                 TEXT COLLATE "C" NOT NULL,
    model                   TEXT COLLATE "C" NOT NULL,
    provider                TEXT COLLATE "C" NOT NULL,
    upstream_model          TEXT COLLATE "C" NOT NULL,
    calls                   BIGINT NOT NULL,
    answered                BIGINT NOT NULL,
    failed                  BIGINT NOT NULL,
    refused                 BIGINT NOT NULL,
    cancelled               BIGINT NOT NULL,
    input_tokens            BIGINT NOT NULL,
    cache_read_tokens       BIGINT NOT NULL,
    cache_write_5m_tokens   BIGINT NOT NULL,
    cache_write_1h_tokens   BIGINT NOT NULL,
    input_audio_tokens      BIGINT NOT NULL,
    output_tokens           BIGINT NOT NULL,
    reasoning_tokens        BIGINT NOT NULL,
    output_audio_tokens     BIGINT NOT NULL,
    web_searches            BIGINT NOT NULL,
    cost_nanodollars        BIGINT NOT NULL,
    -- What was charged: the charge where there is one, else the cost.
    charge_nanodollars      BIGINT NOT NULL,
    unpriced                BIGINT NOT NULL,
    estimated               BIGINT NOT NULL,
    duration_us             BIGINT NOT NULL,
    longest_duration_us     BIGINT NOT NULL,
    first_tokens            BIGINT NOT NULL,
    time_to_first_token_us  BIGINT NOT NULL,
    PRIMARY KEY (bucket_ms, organization_id, team_id, model, provider, upstream_model)
);

CREATE TABLE usage_days (
    bucket_ms               BIGINT NOT NULL,
    organization_id         TEXT COLLATE "C" NOT NULL,
    team_id                 TEXT COLLATE "C" NOT NULL,
    model                   TEXT COLLATE "C" NOT NULL,
    provider                TEXT COLLATE "C" NOT NULL,
    upstream_model          TEXT COLLATE "C" NOT NULL,
    calls                   BIGINT NOT NULL,
    answered                BIGINT NOT NULL,
    failed                  BIGINT NOT NULL,
    refused                 BIGINT NOT NULL,
    cancelled               BIGINT NOT NULL,
    input_tokens            BIGINT NOT NULL,
    cache_read_tokens       BIGINT NOT NULL,
    cache_write_5m_tokens   BIGINT NOT NULL,
    cache_write_1h_tokens   BIGINT NOT NULL,
    input_audio_tokens      BIGINT NOT NULL,
    output_tokens           BIGINT NOT NULL,
    reasoning_tokens        BIGINT NOT NULL,
    output_audio_tokens     BIGINT NOT NULL,
    web_searches            BIGINT NOT NULL,
    cost_nanodollars        BIGINT NOT NULL,
    charge_nanodollars      BIGINT NOT NULL,
    unpriced                BIGINT NOT NULL,
    estimated               BIGINT NOT NULL,
    duration_us             BIGINT NOT NULL,
    longest_duration_us     BIGINT NOT NULL,
    first_tokens            BIGINT NOT NULL,
    time_to_first_token_us  BIGINT NOT NULL,
    PRIMARY KEY (bucket_ms, organization_id, team_id, model, provider, upstream_model)
);

-- The same sums for whatever can have a limit: `org:…`, `team:…`, `key:…`, `user:…/…`, `tag:…=…`. By time first: what is
-- written lies together, and a start reads the last day of all scopes.
CREATE TABLE scope_hours (
    scope                   TEXT COLLATE "C" NOT NULL,
    bucket_ms               BIGINT NOT NULL,
    calls                   BIGINT NOT NULL,
    answered                BIGINT NOT NULL,
    failed                  BIGINT NOT NULL,
    refused                 BIGINT NOT NULL,
    cancelled               BIGINT NOT NULL,
    input_tokens            BIGINT NOT NULL,
    cache_read_tokens       BIGINT NOT NULL,
    cache_write_5m_tokens   BIGINT NOT NULL,
    cache_write_1h_tokens   BIGINT NOT NULL,
    input_audio_tokens      BIGINT NOT NULL,
    output_tokens           BIGINT NOT NULL,
    reasoning_tokens        BIGINT NOT NULL,
    output_audio_tokens     BIGINT NOT NULL,
    web_searches            BIGINT NOT NULL,
    cost_nanodollars        BIGINT NOT NULL,
    charge_nanodollars      BIGINT NOT NULL,
    unpriced                BIGINT NOT NULL,
    estimated               BIGINT NOT NULL,
    duration_us             BIGINT NOT NULL,
    longest_duration_us     BIGINT NOT NULL,
    first_tokens            BIGINT NOT NULL,
    time_to_first_token_us  BIGINT NOT NULL,
    PRIMARY KEY (bucket_ms, scope)
);

-- By scope first: budgets ask for all days of one.
CREATE TABLE scope_days (
    scope                   TEXT COLLATE "C" NOT NULL,
    bucket_ms               BIGINT NOT NULL,
    calls                   BIGINT NOT NULL,
    answered                BIGINT NOT NULL,
    failed                  BIGINT NOT NULL,
    refused                 BIGINT NOT NULL,
    cancelled               BIGINT NOT NULL,
    input_tokens            BIGINT NOT NULL,
    cache_read_tokens       BIGINT NOT NULL,
    cache_write_5m_tokens   BIGINT NOT NULL,
    cache_write_1h_tokens   BIGINT NOT NULL,
    input_audio_tokens      BIGINT NOT NULL,
    output_tokens           BIGINT NOT NULL,
    reasoning_tokens        BIGINT NOT NULL,
    output_audio_tokens     BIGINT NOT NULL,
    web_searches            BIGINT NOT NULL,
    cost_nanodollars        BIGINT NOT NULL,
    charge_nanodollars      BIGINT NOT NULL,
    unpriced                BIGINT NOT NULL,
    estimated               BIGINT NOT NULL,
    duration_us             BIGINT NOT NULL,
    longest_duration_us     BIGINT NOT NULL,
    first_tokens            BIGINT NOT NULL,
    time_to_first_token_us  BIGINT NOT NULL,
    PRIMARY KEY (scope, bucket_ms)
);

-- How far each process's journal is in the database: written in the transaction that writes its calls.
CREATE TABLE journal_positions (
    journal_id      TEXT    NOT NULL PRIMARY KEY,
    segment         BIGINT  NOT NULL,
    "offset"        BIGINT  NOT NULL,
    updated_at_ms   BIGINT  NOT NULL
);

-- What was said in a call, only where the operator wants it kept. In partitions like the calls.
CREATE TABLE bodies (
    call_id             UUID    NOT NULL,
    started_at_ms       BIGINT  NOT NULL,
    request             TEXT,
    request_is_cut      BOOLEAN NOT NULL,
    response            TEXT,
    response_is_cut     BOOLEAN NOT NULL
) PARTITION BY RANGE (started_at_ms);

CREATE UNIQUE INDEX bodies_call_id ON bodies (call_id, started_at_ms);

CREATE TABLE bodies_default PARTITION OF bodies DEFAULT;
