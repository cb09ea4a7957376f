-- How often ways to search (an embedder, or pictures and texts together) found the item that a question is about: the share
-- `found` of the n questions for which it is among the first k, with its 95 % interval. The rows of all questions have no
-- language. `place` orders the searches, the best first. `reciprocal_rank` is the mean of 1 / rank, 0 beyond the last one
-- retrieved, and `seconds` the mean time of a question. Rows of all questions at the number of items that is shown also have
-- the difference to the best search, in shares of 1: this one minus the best, with its interval and the word for it.
CREATE TABLE tried_search (
    artefact VARCHAR NOT NULL,
    search VARCHAR NOT NULL,
    num_embedders INTEGER NOT NULL,
    place INTEGER NOT NULL,
    language VARCHAR,
    k INTEGER NOT NULL,
    n BIGINT NOT NULL,
    found DOUBLE NOT NULL,
    low DOUBLE,
    high DOUBLE,
    reciprocal_rank DOUBLE NOT NULL,
    seconds DOUBLE,
    is_shown BOOLEAN NOT NULL,
    difference DOUBLE,
    difference_low DOUBLE,
    difference_high DOUBLE,
    word VARCHAR
);
