// Package label is the pages on which people label pictures, and the one on which their owner sees
// how far they are: an http.Handler over a feedback.Store.
//
//	pages, err := label.New(label.Config{Store: store, Owner: rand.Text()})
//	…
//	defer pages.Close()
//	err = http.ListenAndServe("127.0.0.1:8080", pages)
//
// That is enough on one's own machine. Package command has a Server with bounds and TLS for others,
// and examples/label is the whole program.
//
// # For raters
//
// A rater sees the pictures of a prompt, one by one or some together (feedback.Store.SetTogether).
// One key, button or swipe is a label and the next picture. Another takes the last label back.
// There is nothing to submit. The keys are shown, and each rater can change them:
//
//	good     a 1 →            swipe right
//	bad      x 0 ←            swipe left
//	skip     space s          cannot say
//	undo     backspace u
//	zoom     z                tap
//	reason   r                goes with the next label
//
// Pictures are fetched ahead. Answers wait in the browser until the store has them on its disk, and
// are sent in the order in which they were given. So a slow line keeps nobody waiting, and without
// a network, or when the page is closed, nothing is lost. An answer that is sent twice is one.
//
// Who gets which picture is the store's to say: see feedback.Store.Next.
//
// # For the owner
//
// The overview is at /overview. It has what the store counts with each judgement: how far the work
// is, how fast it goes, what each rater has said, how raters do on pictures whose label is known
// (feedback.Store.SetGold). What takes longer is computed behind the page and shown with its age:
// shares by category, agreement with intervals, raters who differ from the others, disputed
// pictures. If Config.Train is set, a reward can be learned there from the labels so far, and then
// the pictures be shown first that it is least sure of.
//
// # Who may do what
//
// A rater enters by a link with a token, BASE/enter#TOKEN, where feedback.Store.NewToken has made
// the token (Invite), and stays in by a cookie. The owner enters by such a link with Config.Owner.
// What is behind a # no browser sends, so no log has it. With Config.Open whoever gives a name is
// that rater, on this machine's own addresses alone.
//
// Whoever has a rater's token can see what that rater has said, and prompts and pictures in the
// store, if they know their IDs, and no more. Requests from other sites are refused
// (http.CrossOriginProtection), and so is a rater who asks for more than a hand can need. The pages
// run no script but their own files, and ask nothing of another host. No name in a request becomes
// one in the file system: pictures are found by their IDs in the database.
package label
