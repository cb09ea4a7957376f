-- The recipe of the run whose id begins with $named, or of the latest run that has a recipe of this name; of runs of this name, those that trained come first.
SELECT
    run_id,
    recipe_name,
    recipe::VARCHAR AS recipe,
    length($named) >= 8 AND starts_with(run_id, $named) AS by_id
FROM run
WHERE
    recipe IS NOT NULL
    AND (
        (length($named) >= 8 AND starts_with(run_id, $named))
        OR recipe_name = $named
        OR (split_part(recipe_name, '+', 1) = $named AND (recipe -> 'stated') IS NOT NULL)
    )
ORDER BY by_id DESC, flow = 'synth-and-train' DESC, started DESC
LIMIT 1
