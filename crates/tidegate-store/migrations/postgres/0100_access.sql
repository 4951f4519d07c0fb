-- Who there is and what they may do. Limits, permissions and tags are JSON; times are milliseconds since 1970.
CREATE TABLE organizations (
    id              TEXT    NOT NULL PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE,
    limits          TEXT    NOT NULL,
    end_user_limits TEXT    NOT NULL,
    permissions     TEXT    NOT NULL,
    disabled        BOOLEAN NOT NULL,
    created_at_ms   BIGINT  NOT NULL
);

INSERT INTO organizations VALUES ('org_default', 'default', '{}', '{}', '{}', FALSE, 0);

CREATE TABLE teams (
    id                TEXT    NOT NULL PRIMARY KEY,
    organization_id   TEXT    NOT NULL REFERENCES organizations (id),
    name              TEXT    NOT NULL,
    limits            TEXT    NOT NULL,
    permissions       TEXT    NOT NULL,
    margin_millionths BIGINT  NOT NULL,
    disabled          BOOLEAN NOT NULL,
    created_at_ms     BIGINT  NOT NULL,
    UNIQUE (organization_id, name)
);

-- Keys are never deleted: a call's key can always be told, and "there is a key" stays true.
CREATE TABLE keys (
    -- Compared by its bytes, which is faster than by a language and just as good for ids.
    id                TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    organization_id   TEXT    NOT NULL REFERENCES organizations (id),
    team_id           TEXT    REFERENCES teams (id),
    name              TEXT    NOT NULL,
    hint              TEXT    NOT NULL,
    hash              BYTEA   NOT NULL UNIQUE,
    previous_hash     BYTEA   UNIQUE,
    previous_until_ms BIGINT,
    role              TEXT,
    limits            TEXT    NOT NULL,
    permissions       TEXT    NOT NULL,
    tags              TEXT    NOT NULL,
    disabled          BOOLEAN NOT NULL,
    expires_at_ms     BIGINT,
    created_at_ms     BIGINT  NOT NULL
);

CREATE INDEX keys_of_organization ON keys (organization_id, id);
CREATE INDEX keys_of_team ON keys (team_id, id);
CREATE INDEX keys_with_role ON keys (role) WHERE role IS NOT NULL;

-- End users and tags that have limits.
CREATE TABLE subjects (
    scope           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    limits          TEXT    NOT NULL,
    disabled        BOOLEAN NOT NULL,
    created_at_ms   BIGINT  NOT NULL
);

-- What has changed, for all processes that hold it in memory. Old ones are taken away.
CREATE TABLE changes (
    sequence BIGINT  NOT NULL PRIMARY KEY,
    kind     TEXT    NOT NULL,
    id       TEXT    NOT NULL
);

-- The providers' credentials: nonce, text and tag of AES-256-GCM in one.
CREATE TABLE credentials (
    id            TEXT    NOT NULL PRIMARY KEY,
    provider      TEXT    NOT NULL,
    label         TEXT    NOT NULL,
    hint          TEXT    NOT NULL,
    master_key    TEXT    NOT NULL,
    sealed        BYTEA   NOT NULL,
    created_at_ms BIGINT  NOT NULL,
    rotated_at_ms BIGINT  NOT NULL,
    UNIQUE (provider, label)
);
