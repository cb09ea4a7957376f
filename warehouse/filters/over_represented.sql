-- More than $max_per_answer drafts give this answer for this attribute; a hash of the sample_id decides which are kept.
-- Upper and lower case are the same, except in units (5 mW and 5 MW). Only drafts that no earlier filter dropped are counted.
-- Value: the draft's place among them.
SELECT sample_id, 'over_represented' AS reason, place::DOUBLE AS value
FROM (
    SELECT
        remaining.sample_id,
        row_number() OVER (
            PARTITION BY lower(trim(remaining.answer)), cased_units(remaining.answer), question.attribute
            ORDER BY sha256(remaining.sample_id), remaining.sample_id
        ) AS place
    FROM remaining
    LEFT JOIN question USING (question_id)
)
WHERE place > $max_per_answer
