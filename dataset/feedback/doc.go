// Package feedback is a store of pictures and of what people say of them, in one SQLite file.
//
// A judgement that a call has acknowledged is on the disk, whatever happens to the process or the
// machine. It is never changed and never removed: a correction is another judgement, which takes
// its place. A Store is a dataset.Dataset of samples with the labels that judgements amount to.
package feedback
