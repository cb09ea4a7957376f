-- More than $max_per_item drafts are about the same knowledge item: the question's gold item, or else the first item
-- shown. A hash of the sample_id decides which are kept. Only drafts that no earlier filter dropped are counted.
-- Value: the draft's place among them.
SELECT sample_id, 'over_represented_source' AS reason, place::DOUBLE AS value
FROM (
    SELECT sample_id, row_number() OVER (PARTITION BY item_id ORDER BY sha256(sample_id), sample_id) AS place
    FROM (
        SELECT sample_id, coalesce(question.gold_item_id, remaining.item_ids[1]) AS item_id
        FROM remaining
        LEFT JOIN question USING (question_id)
    )
    WHERE item_id IS NOT NULL
)
WHERE place > $max_per_item
