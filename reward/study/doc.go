// Package study asks people which of two models makes the better pictures, without their knowing
// which model made which, and says what their answers amount to. It is the evaluation of Lee et al.
// 2023: sets of four pictures of each model for a prompt, two questions apart, nine raters.
//
//	made, err := study.Make(ctx, store, study.Design{
//		Study: "tuned",
//		A:     study.Side{Model: "tuned", Pictures: dataset.Folder{Path: "a"}, Folder: "a"},
//		B:     study.Side{Model: "base", Pictures: dataset.Folder{Path: "b"}, Folder: "b"},
//	})
//	…
//	pages, err := study.New(ctx, study.Config{Store: store, Study: "tuned", Owner: rand.Text()})
//	…
//	defer pages.Close()
//	err = http.ListenAndServe("127.0.0.1:8080", pages)
//	…
//	result, err := study.Analyse(ctx, store, study.Analysis{Study: "tuned"})
//
// Package command has a Server with bounds and TLS, and examples/study is the whole program.
//
// # For raters
//
// A rater sees two sets of pictures of a prompt side by side, and one question: which set follows
// the prompt better (feedback.Alignment), or which looks better, whatever the prompt (Fidelity).
// One key or button answers: left, right, tie, both bad. Another takes the last answer back. Keys
// are shown, and each rater can change them. Some pairs of one question come together, then some of
// the other. Pictures are fetched ahead, and answers wait in the browser until the store has them
// on its disk.
//
// # Blindness
//
// Whoever reads all that the pages send learns nothing of which set is whose, but what the pictures
// show:
//
//   - A pair's ID is random, drawn by Make, and never sent. What is sent in its place, the names of
//     its pictures too, are HMACs under it. The side that B is on, for each rater anew, and the
//     order within a set are taken from such HMACs. Without the database nobody can compute them.
//   - Pictures are sent as PNG files of 8-bit RGB that one encoder has made, without metadata, and
//     in one size: that of the smallest of the pair, at most 1,024 pixels a side. Make refuses
//     pictures of different shapes.
//   - All pictures of a pair are made ready together, before one of them is sent.
//   - A vote says left or right. The server makes A or B of it.
//
// A side's place is the same for both questions, so that the rater's eyes need not begin anew. Who
// is shown pictures by two raters' pages can see that they were on other sides, and no more.
//
// # The two-thirds rule
//
// A pair is won by A if at least two thirds of its votes say A, and lost if as many say B. All
// other pairs are ties. The paper has nine raters, so six of them decide. Of its pairs 50 % are
// won, 3 % lost and 10 % tied, which leaves 37 %: it must take for ties the pairs of which two
// thirds say that they are. Here these are the Alike among the ties. Others are pairs on which
// raters are divided. "Both bad" is a vote for neither, as a tie is. Pairs count as soon as they
// have as many votes as are wanted: of one vote all would be of one mind.
//
// # Intervals
//
// Prompts and raters are samples, and what is asked is what others would say of other prompts. So
// intervals are those of measure.Pigeonhole, which draws both anew. Where these would be too
// narrow, because all pairs end alike, they are Wilson's (measure.NewRate) or, for the difference
// of wins and losses, those that Newcombe makes of them (1998, Interval Estimation for the
// Difference Between Independent Proportions, method 10). With fewer than ten prompts or two raters
// no model is said to be better. In simulated studies of 30 prompts and nine raters the intervals
// held the truth in 97 of 100 or more, and in 93 where raters differ twice as much as prompts.
package study
