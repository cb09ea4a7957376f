-- The artefacts behind a card ($artefacts) and everything above them: how each one was made, and the hash of its rows.
WITH RECURSIVE above AS (
    SELECT unnest($artefacts) AS fingerprint
    UNION
    SELECT artefact_input.input_fingerprint
    FROM above
    JOIN artefact_input USING (fingerprint)
)
SELECT
    stage,
    fingerprint,
    version,
    num_rows,
    content_sha256,
    commit,
    recipe::VARCHAR AS recipe,
    measured::VARCHAR AS measured,
    (
        SELECT list(role || '=' || input_fingerprint ORDER BY role)
        FROM artefact_input
        WHERE artefact_input.fingerprint = artefact.fingerprint
    ) AS inputs
FROM above
JOIN artefact USING (fingerprint)
ORDER BY created, stage, fingerprint
