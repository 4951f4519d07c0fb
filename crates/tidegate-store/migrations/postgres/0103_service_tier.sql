-- The tier of service that gave an answer, where it was not the usual one; NULL for most calls.
ALTER TABLE calls ADD COLUMN service_tier TEXT COLLATE "C";
