-- The ledger: one row a call, in a partition for each day (UTC), so that retention drops days instead of rows.
--
-- `id` is a UUID version 7, so it begins with the call's start in milliseconds; a partitioned table's unique index must
-- hold the partition's column too. Partitions are made ahead of their day; what comes for another day (a journal that
-- was away for long) goes to the default one, so that no call is refused for want of a partition.
-- Text is NULL where there is nothing to say. Lists and maps are JSON. Text is ordered by its bytes, as in SQLite.
CREATE TABLE calls (
    id                          UUID NOT NULL,
    started_at_ms               BIGINT NOT NULL,
    duration_us                 BIGINT NOT NULL,
    time_to_first_token_us      BIGINT,
    key_id                      TEXT COLLATE "C",
    team_id                     TEXT COLLATE "C",
    end_user                    TEXT COLLATE "C",
    dialect                     TEXT COLLATE "C" NOT NULL,
    operation                   TEXT COLLATE "C" NOT NULL,
    model                       TEXT COLLATE "C",
    provider                    TEXT COLLATE "C",
    upstream_model              TEXT COLLATE "C",
    key_label                   TEXT COLLATE "C",
    streamed                    BOOLEAN NOT NULL,
    outcome                     TEXT COLLATE "C" NOT NULL,
    failure                     TEXT COLLATE "C",
    status                      BIGINT,
    finish_reason               TEXT COLLATE "C",
    input_tokens                BIGINT NOT NULL,
    cache_read_tokens           BIGINT NOT NULL,
    cache_write_5m_tokens       BIGINT NOT NULL,
    cache_write_1h_tokens       BIGINT NOT NULL,
    input_audio_tokens          BIGINT NOT NULL,
    output_tokens               BIGINT NOT NULL,
    reasoning_tokens            BIGINT NOT NULL,
    output_audio_tokens         BIGINT NOT NULL,
    web_searches                BIGINT NOT NULL,
    cost_nanodollars            BIGINT,
    prices                      TEXT COLLATE "C",
    tags                        TEXT COLLATE "C",
    attempts                    TEXT COLLATE "C",
    dropped                     TEXT COLLATE "C",
    cache                       TEXT COLLATE "C",
    bytes_in                    BIGINT NOT NULL,
    bytes_out                   BIGINT NOT NULL,
    organization_id             TEXT COLLATE "C",
    charge_nanodollars          BIGINT,
    is_estimated                BOOLEAN NOT NULL DEFAULT FALSE
) PARTITION BY RANGE (started_at_ms);

CREATE UNIQUE INDEX calls_id ON calls (id, started_at_ms);

CREATE TABLE calls_default PARTITION OF calls DEFAULT;
