-- Every edge above the artefacts $fingerprints: what they were made from, what that was made from, and so on.
WITH RECURSIVE walk (fingerprint) AS (
    SELECT unnest($fingerprints)
    UNION
    SELECT input_fingerprint FROM artefact_input JOIN walk USING (fingerprint)
)
SELECT
    artefact_input.fingerprint,
    made.stage,
    artefact_input.role,
    artefact_input.input_fingerprint,
    source.stage AS input_stage
FROM artefact_input
SEMI JOIN walk USING (fingerprint)
LEFT JOIN artefact AS made ON made.fingerprint = artefact_input.fingerprint
LEFT JOIN artefact AS source ON source.fingerprint = artefact_input.input_fingerprint
ORDER BY ALL
