// Package report writes down what a run did: its folder, tables on the terminal, progress on stderr,
// and one HTML file that needs nothing beside it.
package report
