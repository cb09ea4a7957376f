-- The number of kept samples ($kept of $drafts), and of their questions, pictures and items.
WITH kept AS (
    SELECT *
    FROM draft
    WHERE list_contains($drafts, artefact)
        AND sample_id IN (SELECT sample_id FROM sample WHERE list_contains($kept, artefact))
)
SELECT
    count(*) AS samples,
    count(DISTINCT question_id) AS questions,
    count(DISTINCT image_id) AS pictures,
    (SELECT count(DISTINCT item_id) FROM (SELECT unnest(item_ids) AS item_id FROM kept)) AS items,
    count(DISTINCT prompt_hash) AS prompts,
    count(DISTINCT lower(trim(answer))) AS answers,
    avg(length(question)) AS question_letters,
    avg(length(answer)) AS answer_letters
FROM kept
