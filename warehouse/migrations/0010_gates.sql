-- The gates of an evaluation: memory is used where the best retrieval score of a question is above `threshold`, unless the
-- reader's own answer has a mean log-probability a token above `sure` (NULL: that does not count). `none`, `memory` and
-- `gated` are the mean marks (shares of 1) of the n held-out answers that it was fitted on, `share_gated` the share of them
-- that are given without memory. A gate with a `fold` decides for the questions of that fold, and was fitted on the others;
-- the one without was fitted on all of them.
CREATE TABLE gate (
    artefact VARCHAR NOT NULL,
    k INTEGER NOT NULL,
    fold INTEGER,
    threshold DOUBLE NOT NULL,
    sure DOUBLE,
    n BIGINT NOT NULL,
    none DOUBLE NOT NULL,
    memory DOUBLE NOT NULL,
    gated DOUBLE NOT NULL,
    share_gated DOUBLE NOT NULL
);

-- The artefacts of each run, without the answers on which it only fitted a gate: those are no answers to its own questions.
CREATE VIEW run_answers AS
SELECT DISTINCT run_id, fingerprint
FROM run_stage
WHERE NOT EXISTS (
    SELECT 1
    FROM run_stage AS fitted
    JOIN artefact_input AS used USING (fingerprint)
    WHERE fitted.run_id = run_stage.run_id
        AND fitted.stage = 'gate'
        AND used.role = 'predictions'
        AND used.input_fingerprint = run_stage.fingerprint
);
