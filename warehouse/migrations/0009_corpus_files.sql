-- What became of a corpus, a row for each table, for each folder whose pictures and texts are rows, and for each file that was
-- left out, with the reason. num_rows = num_items + num_duplicates + num_bad: ingestion checks it. `num_files` counts files.
CREATE TABLE corpus_file (
    artefact VARCHAR NOT NULL,
    file VARCHAR NOT NULL,
    num_files BIGINT NOT NULL,
    num_rows BIGINT NOT NULL,
    num_items BIGINT NOT NULL,
    num_duplicates BIGINT NOT NULL,
    num_bad BIGINT NOT NULL,
    reason VARCHAR,
    detail VARCHAR
);
