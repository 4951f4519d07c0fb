-- Sums of keys, end users and tags as batches of calls brought them, and not yet in `scope_hours` and `scope_days`: of very
-- many, each lies in a page of its own there, so they are brought there many batches at a time. What is asked about a scope
-- is in both together. Each batch is sorted by scope, and so can be looked through for one.
CREATE TABLE fresh_batches (
    number        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scopes        BIGINT NOT NULL,
    written_at_ms BIGINT NOT NULL
);

CREATE TABLE scope_fresh (
    batch                   BIGINT NOT NULL,
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
    PRIMARY KEY (batch, scope, bucket_ms)
);
