-- What was made, out of what, and in which run. One row an artefact, an edge, a run, a stage of a run.
CREATE TABLE artefact (
    fingerprint VARCHAR PRIMARY KEY,
    stage VARCHAR NOT NULL,
    version VARCHAR,
    recipe JSON,
    uri VARCHAR NOT NULL,
    num_rows BIGINT NOT NULL,
    num_bytes BIGINT NOT NULL,
    content_sha256 VARCHAR NOT NULL,
    shards JSON NOT NULL,
    seconds DOUBLE,
    commit VARCHAR,
    created TIMESTAMPTZ
);

-- The input may be something no stage made (the weights of a backbone), so it need not be an artefact.
CREATE TABLE artefact_input (
    fingerprint VARCHAR NOT NULL,
    role VARCHAR NOT NULL,
    input_fingerprint VARCHAR NOT NULL,
    PRIMARY KEY (fingerprint, role, input_fingerprint)
);

CREATE TABLE run (
    run_id VARCHAR PRIMARY KEY,
    flow VARCHAR NOT NULL,
    recipe_name VARCHAR NOT NULL,
    recipe JSON,
    flow_run_id VARCHAR,
    status VARCHAR NOT NULL,
    started TIMESTAMPTZ NOT NULL,
    ended TIMESTAMPTZ,
    error VARCHAR
);

CREATE TABLE run_stage (
    run_id VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    action VARCHAR NOT NULL CHECK (action IN ('made', 'continued', 'reused', 'failed')),
    reason VARCHAR,
    seconds DOUBLE,
    finished TIMESTAMPTZ,
    PRIMARY KEY (run_id, stage, fingerprint)
);
