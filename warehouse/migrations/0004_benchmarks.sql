-- What the benchmarks of others ask: a choice of options, of which one is right (counted from 0).
ALTER TABLE question ADD COLUMN options VARCHAR[];
ALTER TABLE question ADD COLUMN right_option INTEGER;

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

-- What an answer took, each its share of a batch: finding the items, encoding them (once, when the bank was made),
-- everything up to the first token, the tokens after it. `answer_key` hashes all that decides the answer, so that none
-- is asked for twice. A time-out is an answer that the time allowed cut off.
ALTER TABLE retrieval ADD COLUMN seconds DOUBLE;
ALTER TABLE bank_entry ADD COLUMN seconds DOUBLE;
ALTER TABLE prediction ADD COLUMN answer_key VARCHAR;
ALTER TABLE prediction ADD COLUMN timed_out BOOLEAN;
ALTER TABLE prediction ADD COLUMN retrieve_seconds DOUBLE;
ALTER TABLE prediction ADD COLUMN encode_seconds DOUBLE;
ALTER TABLE prediction ADD COLUMN prefill_seconds DOUBLE;
ALTER TABLE prediction ADD COLUMN decode_seconds DOUBLE;

-- What each metric says of a prediction; the first one, the official, is `prediction.correct` too.
CREATE TABLE mark (
    artefact VARCHAR NOT NULL,
    prediction_id VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    unparsable BOOLEAN
);

-- Two sides on the same questions, first minus second as shares of 1: two conditions of one evaluation (`second` is a
-- condition, `before` null), or one condition now and in the evaluation before (`before` is its artefact of predictions).
-- `changed` counts the questions with another mark, `needed` those that would show a difference of this size.
CREATE TABLE difference (
    artefact VARCHAR NOT NULL,
    benchmark VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    first VARCHAR NOT NULL,
    second VARCHAR NOT NULL,
    before VARCHAR,
    k INTEGER,
    split VARCHAR NOT NULL,
    value DOUBLE,
    low DOUBLE,
    high DOUBLE,
    p_value DOUBLE,
    p_adjusted DOUBLE,
    word VARCHAR,
    n BIGINT,
    changed BIGINT,
    needed BIGINT
);

-- Which artefacts one evaluation is: of one encoder (as it was named, and which it was) on one benchmark, in one run.
CREATE TABLE evaluation (
    run_id VARCHAR NOT NULL,
    recipe_name VARCHAR NOT NULL,
    encoder_name VARCHAR NOT NULL,
    benchmark VARCHAR NOT NULL,
    encoder VARCHAR NOT NULL,
    questions VARCHAR NOT NULL,
    predictions VARCHAR NOT NULL,
    scores VARCHAR NOT NULL,
    made TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (run_id, encoder_name, benchmark)
);

-- With which releases of the libraries that decide results an artefact was made.
ALTER TABLE artefact ADD COLUMN libraries JSON;
