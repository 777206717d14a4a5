// Package report writes down what a run did: files that are whole or absent, metrics that survive a kill, tables
// on the terminal, progress on stderr, and one HTML file that needs nothing beside it.
package report
