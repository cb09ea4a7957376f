-- Another draft with a smaller sample_id has the same question about the same image with the same answer. Upper
-- and lower case are the same, except in units (5 mW and 5 MW). Only drafts that no earlier filter dropped are compared.
-- Value: the draft's place among its equals, from 2 on.
SELECT sample_id, 'duplicate' AS reason, place::DOUBLE AS value
FROM (
    SELECT
        sample_id,
        row_number() OVER (
            PARTITION BY
                lower(trim(question)), cased_units(question), image_id, lower(trim(answer)), cased_units(answer)
            ORDER BY sample_id
        ) AS place
    FROM remaining
)
WHERE place > 1
