-- The name and the weights of the model that answered the questions of the run $run_id: a text-only model, or the
-- encoder's own backbone, through an engine if the run named one. A text-only model sees no picture; with `question_picture` the picture's memory precedes the
-- question.
WITH answered AS (
    SELECT role, input_fingerprint
    FROM artefact_input
    JOIN run_stage USING (fingerprint)
    WHERE run_id = $run_id AND fingerprint IN (SELECT artefact FROM prediction) AND role IN ('backbone', 'reader')
)
SELECT
    coalesce(
        recipe->>'$.reader.name',
        (recipe->>'$.backbone.name') || ' through ' || (recipe->>'$.engine.name'),
        recipe->>'$.backbone.name'
    ) AS name,
    (SELECT input_fingerprint FROM answered ORDER BY role = 'reader' DESC LIMIT 1) AS weights,
    (recipe->>'$.reader.name') IS NOT NULL AS text_only,
    coalesce((recipe->>'$.reader.question_picture')::BOOLEAN, false) AS question_picture
FROM run
WHERE run_id = $run_id
