-- What the benchmarks of others ask: a choice of options, of which one is right (counted from 0).
ALTER TABLE question ADD COLUMN options VARCHAR[];
ALTER TABLE question ADD COLUMN right_option INTEGER;

-- What each metric says of a prediction; the first one, the official, is `prediction.correct` too.
CREATE TABLE mark (
    artefact VARCHAR NOT NULL,
    prediction_id VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    unparsable BOOLEAN
);

-- Questions of a benchmark that cannot be asked: no picture, no gold answer, a row that is not as released.
CREATE TABLE missing_question (
    artefact VARCHAR NOT NULL,
    question_id VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    detail VARCHAR,
    file VARCHAR,
    row BIGINT,
    split VARCHAR
);
