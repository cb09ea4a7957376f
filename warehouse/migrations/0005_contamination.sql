-- Which questions of a benchmark are, in picture or in words, in the samples that an encoder was trained on (`training`) or
-- in the knowledge items (`knowledge`): one row a question, source and kind. `both`: one sample or item (`other_id`) shows
-- the picture and has the words, and no other row is needed; `image`: the picture, `value` is in how many of 128 bits it
-- differs; `question`: the words, `value` is their share, as for `both`.
CREATE TABLE contamination (
    artefact VARCHAR NOT NULL,
    question_id VARCHAR NOT NULL,
    source VARCHAR NOT NULL CHECK (source IN ('training', 'knowledge')),
    kind VARCHAR NOT NULL CHECK (kind IN ('image', 'question', 'both')),
    other_id VARCHAR NOT NULL,
    value DOUBLE NOT NULL
);
