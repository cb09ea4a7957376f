-- The numbers of items that were tried on held-out questions before the answers of $predictions were asked for, and which was
-- chosen (`warehouse/migrations/0011_tried_k.sql`); nothing if the number was given.
SELECT tried_k.* EXCLUDE (artefact)
FROM tried_k
JOIN artefact_input AS made ON made.input_fingerprint = tried_k.artefact
WHERE made.fingerprint = $predictions AND made.role = 'tried_k'
ORDER BY tried_k.k
