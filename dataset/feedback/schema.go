package feedback

// applicationID marks a database as a store of this package: "kudo" in ASCII, in the header that
// SQLite keeps for such marks (sqlite.org/fileformat2.html, §1.3.12).
const applicationID = 0x6b75646f

// migrations make the tables, one version of the store after another. The database's user_version
// is the number of those that it has had. A migration that was released is never changed: what
// comes later is another one.
//
// Times are milliseconds since 1970, UTC. Choices are numbers: those of dataset.Label for pictures,
// those of Choice for pairs, and 0 for an answer that was taken back.
var migrations = []string{`
CREATE TABLE prompts (
	id       INTEGER PRIMARY KEY,
	prompt   TEXT NOT NULL UNIQUE,
	pictures INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE pictures (
	id     INTEGER PRIMARY KEY,
	name   TEXT NOT NULL UNIQUE,
	prompt INTEGER NOT NULL REFERENCES prompts,
	file   TEXT NOT NULL,
	sha256 BLOB,
	size   INTEGER NOT NULL,
	sample TEXT NOT NULL,
	added  INTEGER NOT NULL
) STRICT;
CREATE INDEX pictures_by_file ON pictures (file);

-- Two sets of pictures for one prompt, of which one is to be preferred.
CREATE TABLE pairs (
	id      INTEGER PRIMARY KEY,
	study   TEXT NOT NULL,
	name    TEXT NOT NULL,
	prompt  INTEGER NOT NULL REFERENCES prompts,
	model_a TEXT NOT NULL,
	model_b TEXT NOT NULL,
	UNIQUE (study, name)
) STRICT;
CREATE TABLE sides (
	pair    INTEGER NOT NULL REFERENCES pairs,
	side    INTEGER NOT NULL,
	place   INTEGER NOT NULL,
	picture INTEGER NOT NULL REFERENCES pictures,
	PRIMARY KEY (pair, side, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE raters (
	id     INTEGER PRIMARY KEY,
	name   TEXT NOT NULL UNIQUE,
	token  BLOB UNIQUE,
	added  INTEGER NOT NULL,
	erased INTEGER
) STRICT;

-- A queue is a question that is asked of many things: of all pictures whether they are good, of the
-- pairs of a study which is better. A task is one thing in a queue.
CREATE TABLE queues (
	id       INTEGER PRIMARY KEY,
	study    TEXT NOT NULL,
	question INTEGER NOT NULL,
	raters   INTEGER NOT NULL,
	tasks    INTEGER NOT NULL DEFAULT 0,
	complete INTEGER NOT NULL DEFAULT 0,
	UNIQUE (study, question)
) STRICT;
CREATE TABLE tasks (
	id       INTEGER PRIMARY KEY,
	queue    INTEGER NOT NULL REFERENCES queues,
	prompt   INTEGER NOT NULL REFERENCES prompts,
	picture  INTEGER REFERENCES pictures,
	pair     INTEGER REFERENCES pairs,
	place    INTEGER NOT NULL,           -- in the order in which tasks are given out
	used     INTEGER NOT NULL DEFAULT 0, -- raters who have answered it or have it to answer
	answered INTEGER NOT NULL DEFAULT 0, -- raters who have answered it
	open     INTEGER NOT NULL DEFAULT 1, -- whether fewer raters use it than are wanted
	UNIQUE (queue, picture),
	UNIQUE (queue, pair)
) STRICT;
CREATE INDEX tasks_open ON tasks (queue, place) WHERE open;
CREATE INDEX tasks_of_pairs ON tasks (queue, prompt) WHERE pair IS NOT NULL;

-- Answers are never changed and never removed. One that corrects another names it.
CREATE TABLE answers (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	name       TEXT NOT NULL UNIQUE,
	task       INTEGER NOT NULL REFERENCES tasks,
	rater      INTEGER NOT NULL REFERENCES raters,
	choice     INTEGER NOT NULL CHECK (choice >= 0),
	reason     TEXT NOT NULL,
	taken      INTEGER NOT NULL,
	at         INTEGER NOT NULL,
	supersedes INTEGER UNIQUE REFERENCES answers
) STRICT;
CREATE INDEX answers_by_rater ON answers (rater);
CREATE TRIGGER answers_stay BEFORE UPDATE ON answers
	BEGIN SELECT RAISE(ABORT, 'an answer is never changed'); END;
CREATE TRIGGER answers_remain BEFORE DELETE ON answers
	BEGIN SELECT RAISE(ABORT, 'an answer is never removed'); END;

-- What follows is known from the answers and is kept for speed, in the transaction of each answer.

-- The last answer of each rater to each task.
CREATE TABLE standing (
	task   INTEGER NOT NULL REFERENCES tasks,
	rater  INTEGER NOT NULL REFERENCES raters,
	choice INTEGER NOT NULL,
	answer INTEGER NOT NULL REFERENCES answers,
	PRIMARY KEY (task, rater)
) STRICT, WITHOUT ROWID;
-- How many of the standing answers say what, by rater and by prompt.
CREATE TABLE rater_counts (
	queue  INTEGER NOT NULL,
	rater  INTEGER NOT NULL,
	choice INTEGER NOT NULL,
	n      INTEGER NOT NULL,
	taken  INTEGER NOT NULL,
	PRIMARY KEY (queue, rater, choice)
) STRICT, WITHOUT ROWID;
CREATE TABLE prompt_counts (
	queue  INTEGER NOT NULL,
	prompt INTEGER NOT NULL,
	choice INTEGER NOT NULL,
	n      INTEGER NOT NULL,
	PRIMARY KEY (queue, prompt, choice)
) STRICT, WITHOUT ROWID;

-- Who has which task to answer. A lease that has expired stays until someone else takes it over.
CREATE TABLE leases (
	task    INTEGER NOT NULL REFERENCES tasks,
	rater   INTEGER NOT NULL REFERENCES raters,
	queue   INTEGER NOT NULL,
	expires INTEGER NOT NULL,
	PRIMARY KEY (task, rater)
) STRICT, WITHOUT ROWID;
CREATE INDEX leases_by_rater ON leases (rater, queue);
CREATE INDEX leases_by_queue ON leases (queue, expires);
-- The place in a queue before which there is nothing for a rater.
CREATE TABLE cursors (
	queue INTEGER NOT NULL,
	rater INTEGER NOT NULL,
	place INTEGER NOT NULL,
	PRIMARY KEY (queue, rater)
) STRICT, WITHOUT ROWID;

INSERT INTO queues (id, study, question, raters) VALUES (1, '', 0, 3);
`, `
-- How many tasks of one prompt come one after another.
ALTER TABLE queues ADD COLUMN together INTEGER NOT NULL DEFAULT 1 CHECK (together > 0);
-- A task's turn is its place if each comes alone. Its place follows from turn and together, unless
-- the task was put before all turns: then the place is below 0.
ALTER TABLE tasks ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
UPDATE tasks SET turn = place;
-- The choice that is known to be right, or 0.
ALTER TABLE tasks ADD COLUMN gold INTEGER NOT NULL DEFAULT 0 CHECK (gold BETWEEN 0 AND 2);
CREATE INDEX tasks_gold ON tasks (queue) WHERE gold > 0;
DROP INDEX tasks_open;
CREATE INDEX tasks_open ON tasks (queue, place, prompt) WHERE open; -- open: wanted, or gold
`}
