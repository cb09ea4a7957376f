-- The gates that decided the condition `gated` in the answers of $predictions, by number of items: when memory was used, and
-- how that did on the questions on which it was fitted (`warehouse/migrations/0010_gates.sql`).
SELECT gate.* EXCLUDE (artefact, fold), bool_or(has_folds.fold IS NOT NULL) AS has_folds
FROM gate
JOIN artefact_input AS made ON made.input_fingerprint = gate.artefact
JOIN gate AS has_folds ON has_folds.artefact = gate.artefact
WHERE made.fingerprint = $predictions AND made.role = 'gate' AND gate.fold IS NULL
GROUP BY ALL
ORDER BY gate.k
