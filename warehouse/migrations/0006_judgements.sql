-- What a language model said of answers, one row a question, gold and answer, with the predictions that gave that answer
-- to it. `judge_key` hashes all that decides the reply (judge, prompt, question, gold, answer), so that none is asked for
-- twice. `verdict` is null where there was no reply; then `error` says why.
CREATE TABLE judgement (
    artefact VARCHAR NOT NULL,
    judge_key VARCHAR NOT NULL,
    prediction_ids VARCHAR[] NOT NULL,
    judge VARCHAR NOT NULL,
    prompt_hash VARCHAR NOT NULL,
    answer VARCHAR NOT NULL,
    reply VARCHAR,
    verdict VARCHAR CHECK (verdict IN ('correct', 'incorrect', 'unparsable')),
    error VARCHAR,
    prompt_tokens BIGINT,
    answer_tokens BIGINT,
    truncated BOOLEAN,
    seconds DOUBLE
);

-- How far two metrics agree on which answers are right, under one condition (null: over all of them). `n` answers have a
-- mark by both; `unparsable` and `failed` ones have none by the second, a judge, and are not among them. `kappa` is
-- Cohen's, null where both call all answers the same.
CREATE TABLE agreement (
    artefact VARCHAR NOT NULL,
    benchmark VARCHAR NOT NULL,
    condition VARCHAR,
    k INTEGER,
    first VARCHAR NOT NULL,
    second VARCHAR NOT NULL,
    n BIGINT NOT NULL,
    both_right BIGINT NOT NULL,
    first_only BIGINT NOT NULL,
    second_only BIGINT NOT NULL,
    both_wrong BIGINT NOT NULL,
    share DOUBLE,
    kappa DOUBLE,
    unparsable BIGINT NOT NULL,
    failed BIGINT NOT NULL
);
