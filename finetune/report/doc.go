// Package report is what programs show and leave behind: progress on the terminal, the folder of a
// run, tables, and one HTML page that needs nothing beside it.
//
// Main is the frame of a program: it minds signals, prints errors and sets the exit status.
//
// # Progress
//
// A Progress has stages, one after another: bars on a terminal, a line now and then elsewhere.
//
//	stage := report.Stderr().Stage("generate", n)
//	defer stage.End()
//
// # Folder
//
// A Folder is where a run leaves its files. Each is there whole or, after an error or a kill, as it
// was before. Conclude writes the last of them: report.json and report.html.
//
// # Flags
//
// Config has the flags of a program for config.json. Check, Required and Needs say in a line what
// their values must be, with errors that name them. FitsWith names flags with which something would
// fit memory that it does not fit.
//
// # Page
//
// A Page is a title, a few sentences and Blocks, of which there are six kinds. A Table prints on a
// terminal too. A Chart has curves. Intervals are values with how sure they are. A Grid has
// pictures. Figures are the numbers that matter most. Text is a paragraph. finetune.Record makes a
// page of any training.
package report
