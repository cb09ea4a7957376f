-- The rows inside the artefacts. Each table holds the rows of many artefacts, so each begins with `artefact`, which the
-- loader fills; the rest is the schema of a Parquet shard (warehouse.schemas.schema_of reads it from here).
-- NOT NULL is what warehouse.schemas.check_rows asks of a row before it is written.
-- There are no indexes beside the primary keys: over a million rows a scan for one id takes 0.04 s and row lineage 0.05 to
-- 0.6 s with or without them, while they double the file.
CREATE TABLE knowledge_item (
    artefact VARCHAR NOT NULL,
    item_id VARCHAR NOT NULL,
    image_id VARCHAR,
    text VARCHAR NOT NULL,
    language VARCHAR NOT NULL,
    source VARCHAR,
    licence VARCHAR,
    entity_id VARCHAR,
    title VARCHAR
);

CREATE TABLE dropped_row (
    artefact VARCHAR NOT NULL,
    file VARCHAR NOT NULL,
    row BIGINT,
    reason VARCHAR NOT NULL,
    detail VARCHAR
);

CREATE TABLE question (
    artefact VARCHAR NOT NULL,
    question_id VARCHAR NOT NULL,
    benchmark VARCHAR,
    split VARCHAR,
    language VARCHAR,
    question VARCHAR NOT NULL,
    image_id VARCHAR,
    answers VARCHAR[],
    answer_low DOUBLE,
    answer_high DOUBLE,
    question_type VARCHAR,
    attribute VARCHAR,
    entity_id VARCHAR,
    gold_item_id VARCHAR,
    origin VARCHAR
);

CREATE TABLE retrieval (
    artefact VARCHAR NOT NULL,
    question_id VARCHAR NOT NULL,
    item_ids VARCHAR[] NOT NULL,
    scores DOUBLE[] NOT NULL
);

CREATE TABLE draft (
    artefact VARCHAR NOT NULL,
    sample_id VARCHAR NOT NULL,
    question_id VARCHAR,
    mode VARCHAR,
    language VARCHAR,
    question VARCHAR NOT NULL,
    image_id VARCHAR,
    answer VARCHAR,
    item_ids VARCHAR[],
    retrieval_scores DOUBLE[],
    prompt_hash VARCHAR,
    seed BIGINT,
    prompt_tokens INTEGER,
    answer_tokens INTEGER,
    truncated BOOLEAN,
    seconds DOUBLE,
    model VARCHAR
);

CREATE TABLE verdict (
    artefact VARCHAR NOT NULL,
    sample_id VARCHAR NOT NULL,
    judge VARCHAR,
    metric_score DOUBLE,
    answer_without_items VARCHAR,
    without_score DOUBLE,
    grounded BOOLEAN
);

CREATE TABLE drop (
    artefact VARCHAR NOT NULL,
    sample_id VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    value DOUBLE
);

CREATE TABLE sample (
    artefact VARCHAR NOT NULL,
    sample_id VARCHAR NOT NULL
);

CREATE TABLE training_step (
    artefact VARCHAR NOT NULL,
    step INTEGER NOT NULL,
    loss DOUBLE,
    learning_rate DOUBLE,
    samples BIGINT,
    tokens BIGINT,
    seconds DOUBLE
);

CREATE TABLE bank_entry (
    artefact VARCHAR NOT NULL,
    item_id VARCHAR NOT NULL,
    row BIGINT NOT NULL
);

CREATE TABLE prediction (
    artefact VARCHAR NOT NULL,
    prediction_id VARCHAR NOT NULL,
    benchmark VARCHAR NOT NULL,
    question_id VARCHAR NOT NULL,
    split VARCHAR,
    condition VARCHAR NOT NULL,
    k INTEGER,
    item_ids VARCHAR[],
    answer_raw VARCHAR,
    answer VARCHAR,
    correct DOUBLE,
    prompt_hash VARCHAR,
    prompt_tokens INTEGER,
    memory_vectors INTEGER,
    answer_tokens INTEGER,
    truncated BOOLEAN,
    seconds DOUBLE
);

CREATE TABLE score (
    artefact VARCHAR NOT NULL,
    benchmark VARCHAR NOT NULL,
    condition VARCHAR NOT NULL,
    k INTEGER,
    split VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    value DOUBLE,
    low DOUBLE,
    high DOUBLE,
    n BIGINT,
    prompt_tokens_mean DOUBLE
);
