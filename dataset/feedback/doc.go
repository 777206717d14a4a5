// Package feedback is a store of pictures and of what people say of them, in one SQLite file.
//
//	store, err := feedback.Open(ctx, feedback.Config{Path: "run/labels.db"})
//	…
//	defer store.Close()
//	n, err := store.Add(ctx, dataset.Folder{Path: "run"}, "run")      // pictures to judge
//	next, err := store.Next(ctx, "anna", 1)                          // one of them for a rater
//	_, err = store.Judge(ctx, feedback.Judgement{                    // what the rater says
//		Answer: id, Rater: "anna", Picture: next[0].Sample.ID, Label: dataset.Good,
//	})
//	labels := store.Labels(feedback.DawidSkene{Smoothing: 1})        // a dataset.Dataset
//
// # What is kept
//
// A judgement that Judge has returned is on the disk, whatever happens to the process or the
// machine. It is never changed and never removed. A rater who judges a picture again, or takes a
// judgement back, makes another judgement, which supersedes the one before. The last one stands.
// Each has an ID that whoever asks the rater makes, so that a request that is repeated is one
// judgement.
//
// Pictures stay files. The store has their paths, relative to its folder, their sizes and their
// SHA-256, which Verify compares, and all that a line of a dataset.File says of a sample.
// ReadPicture reads a file as long as it is the one that was added, and nothing outside the folder.
// Tokens by which raters prove who they are the store has as hashes alone.
//
// # Who gets what
//
// Next gives a rater pictures, for as long as a lease lasts. Never do more raters have a picture
// than SetRaters says, and prompts take turns. Whoever is back after a break has the same pictures
// again, unless someone else has taken them over. To take a judgement back (Undo) gives the picture
// to the rater again. A Skip counts as an answer: the rater does not get the picture again.
//
// SetTogether has several pictures of a prompt come one after another. First puts pictures before
// all others, such as those that a reward is least certain of. SetGold marks pictures whose answer
// is known. Every rater is given these, and Overview says how often each is right.
//
// # Pairs
//
// A Pair is two sets of pictures for one prompt, of a study that compares models. Raters vote on
// it, for each Question apart: A, B, Tie or BothBad. NextPairs gives pairs as Next gives pictures,
// and says which side is to be shown first. A vote is in terms of A and B all the same.
//
// # What judgements amount to
//
// A Store is a dataset.Dataset of samples with labels by Majority. Labels has them by any
// Aggregator: Majority, Mean, DawidSkene, or one of your own. ReadLabels is the same of a file. Raw
// has a sample for each judgement. Table.Ratings is the form in which package measure says how far
// raters agree. Overview and Prompts say how far the work is, from numbers that are kept with each
// judgement, and Check counts them anew.
//
// # In and out
//
//   - Samples as JSONL: Add reads what dataset.File reads, and dataset.Write writes any of the
//     datasets above.
//   - Everything: Export and Import, JSONL with who said what, when and why.
//   - Labels of other tools: ReadLabelStudio, ReadLabelStudioMin, ReadLabelStudioCSV, ReadProdigy,
//     ReadArgilla and ReadCSV read their files, and AddRecords adds what they say. A file that is
//     read again adds what is new in it.
//   - The database itself: Backup, while it is used.
//   - One rater: ExportRater writes what there is of a rater, and Erase removes the name and keeps
//     the judgements.
//
// # Contract
//
// Several goroutines may use a Store, and several processes one file: each call is a transaction of
// its own, and one waits for another up to five seconds (ErrBusy). The file has to be on a local
// disk, because the write-ahead log of SQLite needs memory that processes share. A full disk is
// ErrFull, and nothing is lost by it. Errors that wrap ErrUnknown, ErrConflict, ErrChanged or
// ErrForeign say that something is not there, is something else, is not as it was, or is no store.
//
// # Design
//
// Everything that is asked is a task in a queue: all pictures are one, and each question of a study
// is one. Answers are rows that are only ever added. What is known from them (which one stands, how
// many raters use a task, the counts) is kept in the same transaction. A lease that has expired is
// not removed but taken over, and a judgement takes the place of its lease. So the number of raters
// who use a task never falls, a task that is full leaves the index of open ones, and for each rater
// one place in the queue is enough to know what was passed. What changes the order (First,
// SetTogether) forgets these places, and each rater's next call looks from the beginning. With
// 100,000 pictures and a million judgements, Next takes about half a millisecond, and waits for the
// disk.
//
// SQLite is modernc.org/sqlite, which needs no C compiler. No other package imports it, so programs
// without a store are without it.
package feedback
