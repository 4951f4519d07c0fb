-- What administrators did and what was refused: lines chained by SHA-256.
CREATE TABLE audit (
    sequence      INTEGER NOT NULL PRIMARY KEY,
    at_ms         INTEGER NOT NULL,
    actor         TEXT    NOT NULL,
    address       TEXT,
    action        TEXT    NOT NULL,
    object        TEXT    NOT NULL,
    was           TEXT,
    became        TEXT,
    previous_hash BLOB    NOT NULL,
    hash          BLOB    NOT NULL
);

CREATE INDEX audit_of_object ON audit (object, sequence);
CREATE INDEX audit_of_actor ON audit (actor, sequence);

-- The last line, so that lines removed from the end are missed too, and its seal where a master key is configured.
CREATE TABLE audit_head (
    id              INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    sequence        INTEGER NOT NULL,
    hash            BLOB    NOT NULL,
    sealed_sequence INTEGER NOT NULL,
    seal            BLOB
);

INSERT INTO audit_head VALUES (1, 0, x'0000000000000000000000000000000000000000000000000000000000000000', 0, NULL);

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER audit_head_stays BEFORE DELETE ON audit_head
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

-- A REPLACE deletes without asking the trigger above.
CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE sequence = NEW.sequence)
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
