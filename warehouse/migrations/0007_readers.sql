-- Who answered the questions of an evaluation: `reader` names the weights; `reader_name` is the text-only model that read
-- in the place of the encoder's own backbone, and NULL where the backbone did.
ALTER TABLE evaluation ADD COLUMN reader VARCHAR;
ALTER TABLE evaluation ADD COLUMN reader_name VARCHAR;
