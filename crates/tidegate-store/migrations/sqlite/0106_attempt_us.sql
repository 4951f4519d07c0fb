-- How long the only attempt of a call took, in microseconds, where that answered at once, as nearly all do: then `attempts` is
-- NULL. The calls that are there have it as text in `attempts`.
ALTER TABLE calls ADD COLUMN attempt_us INTEGER;
