-- Nothing changes here but how `calls.attempts` is read: where its only attempt answered, it is that one's duration in
-- microseconds and no list. A program that does not know this must not take such a database for its own.
SELECT 1;
