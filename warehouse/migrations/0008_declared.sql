-- What the code declares of the conditions under which a question is asked: how a page calls them (`phrase`, in the order of
-- `place`), what they mean, and what that is for a reader that sees no pictures. Each run brings this up to date.
CREATE TABLE condition (
    name VARCHAR PRIMARY KEY,
    place INTEGER NOT NULL,
    phrase VARCHAR NOT NULL,
    meaning VARCHAR NOT NULL,
    text_only VARCHAR
);

-- What a stage declares of itself, so that a difference between two of its artefacts can be explained; brought up to date
-- each time the stage runs. `subject` is what a reader calls it; `roles` are those under which other stages take it, besides
-- its name; `extent` are fields of its recipe that say how much is made and not how; `kinds` are fields that tell one kind
-- of thing from another. `fallbacks` maps roles to the role that counts where they are absent. Nothing official rests on a
-- stage that is `beside`; of an `essential` one it matters whether it was there at all. `caption` stands above its loss curve.
CREATE TABLE stage (
    name VARCHAR PRIMARY KEY,
    subject VARCHAR NOT NULL,
    roles VARCHAR[] NOT NULL,
    extent VARCHAR[] NOT NULL,
    kinds VARCHAR[] NOT NULL,
    fallbacks JSON NOT NULL,
    beside BOOLEAN NOT NULL,
    essential BOOLEAN NOT NULL,
    caption VARCHAR NOT NULL
);
