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
// # Page
//
// A Page is a title, a few sentences and Blocks: a Table, which prints on a terminal too; a Chart
// of curves; Intervals, values with how sure they are; a Grid of pictures; Figures, which are the
// numbers that matter most; and Text. finetune.Record makes one of any training.
package report
