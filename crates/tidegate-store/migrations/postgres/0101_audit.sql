-- What administrators did and what was refused: lines chained by SHA-256.
CREATE TABLE audit (
    sequence      BIGINT NOT NULL PRIMARY KEY,
    at_ms         BIGINT NOT NULL,
    actor         TEXT    NOT NULL,
    address       TEXT,
    action        TEXT    NOT NULL,
    object        TEXT    NOT NULL,
    was           TEXT,
    became        TEXT,
    previous_hash BYTEA   NOT NULL,
    hash          BYTEA   NOT NULL
);

CREATE INDEX audit_of_object ON audit (object, sequence);
CREATE INDEX audit_of_actor ON audit (actor, sequence);

-- The last line, so that lines removed from the end are missed too, and its seal where a master key is configured.
CREATE TABLE audit_head (
    id              BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    sequence        BIGINT NOT NULL,
    hash            BYTEA   NOT NULL,
    sealed_sequence BIGINT NOT NULL,
    seal            BYTEA
);

INSERT INTO audit_head VALUES (1, 0, decode(repeat('00', 32), 'hex'), 0, NULL);

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END
$$;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

CREATE TRIGGER audit_head_stays BEFORE DELETE OR TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
