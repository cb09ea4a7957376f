-- Every edge below the artefacts $fingerprints: what was made from them, what was made from that, and so on.
WITH RECURSIVE walk (fingerprint) AS (
    SELECT unnest($fingerprints)
    UNION
    SELECT artefact_input.fingerprint
    FROM artefact_input
    JOIN walk ON artefact_input.input_fingerprint = walk.fingerprint
)
SELECT
    artefact_input.fingerprint,
    made.stage,
    artefact_input.role,
    artefact_input.input_fingerprint,
    source.stage AS input_stage
FROM artefact_input
JOIN walk ON artefact_input.input_fingerprint = walk.fingerprint
LEFT JOIN artefact AS made ON made.fingerprint = artefact_input.fingerprint
LEFT JOIN artefact AS source ON source.fingerprint = artefact_input.input_fingerprint
ORDER BY ALL
