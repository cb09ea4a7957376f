-- How held-out questions were answered with several numbers of items, and which was chosen for the questions that are scored:
-- the fewest that lose next to nothing against the best. `score` is the mean mark (a share of 1) of the n answers under
-- `condition`, with its 95 % interval.
CREATE TABLE tried_k (
    artefact VARCHAR NOT NULL,
    condition VARCHAR NOT NULL,
    k INTEGER NOT NULL,
    n BIGINT NOT NULL,
    score DOUBLE NOT NULL,
    low DOUBLE,
    high DOUBLE,
    is_chosen BOOLEAN NOT NULL
);

-- The artefacts of each run, without the answers on which it only decided something: those are no answers to its own
-- questions.
CREATE OR REPLACE VIEW run_answers AS
SELECT DISTINCT run_id, fingerprint
FROM run_stage
WHERE NOT EXISTS (
    SELECT 1
    FROM run_stage AS decided
    JOIN artefact_input AS used USING (fingerprint)
    WHERE decided.run_id = run_stage.run_id
        AND decided.stage IN ('gate', 'tried-k')
        AND used.role = 'predictions'
        AND used.input_fingerprint = run_stage.fingerprint
);
