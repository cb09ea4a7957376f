-- The complete kept samples $sample_ids, one row each, in order of sample_id: the question with its picture, the
-- answer, and the items in rank order with pictures and texts. A missing item gives a null text, which the caller
-- refuses.
WITH chosen AS MATERIALIZED (
    SELECT * FROM draft WHERE sample_id IN (SELECT unnest($sample_ids))
),
ranked AS (
    SELECT sample_id, unnest(item_ids) AS item_id, generate_subscripts(item_ids, 1) AS item_rank FROM chosen
),
needed AS MATERIALIZED (
    SELECT item_id, image, text, language, title, source, licence
    FROM knowledge_item
    WHERE item_id IN (SELECT item_id FROM ranked)
),
shown AS (
    SELECT
        sample_id,
        list(item_rank::INTEGER ORDER BY item_rank) AS item_ranks,
        list(image ORDER BY item_rank) AS item_images,
        list(text ORDER BY item_rank) AS item_texts,
        list(language ORDER BY item_rank) AS item_languages,
        list(title ORDER BY item_rank) AS item_titles,
        list(source ORDER BY item_rank) AS item_sources,
        list(licence ORDER BY item_rank) AS item_licences
    FROM ranked
    LEFT JOIN needed USING (item_id)
    GROUP BY sample_id
)
SELECT
    chosen.sample_id,
    chosen.question_id,
    chosen.mode,
    chosen.translated_from,
    chosen.language,
    chosen.question,
    chosen.image_id,
    question.image AS image,
    chosen.answer,
    chosen.answer_raw,
    question.answers,
    question.question_type,
    question.attribute,
    chosen.item_ids,
    shown.* EXCLUDE (sample_id),
    chosen.retrieval_scores,
    chosen.prompt_hash,
    chosen.seed,
    chosen.model
FROM chosen
LEFT JOIN question USING (question_id)
LEFT JOIN shown USING (sample_id)
ORDER BY chosen.sample_id
