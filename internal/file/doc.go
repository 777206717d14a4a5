// Package file writes files and folders that are there whole or not at all, whatever happens to the
// process or the machine, and logs that lose at most the line that was being written.
//
// # Whole or not at all
//
// What is written goes to a temporary name in the same folder, to the disk, and then takes the name
// that it is meant for. The folder is synced after that, so that the name lasts too. Only the
// failure of this last step leaves the new file in place. No open file is renamed, which Windows
// refuses.
//
// # What killed processes leave
//
// Temporary names begin with ".kudos-" and end in ".tmp". A process that writes to a folder for the
// first time removes those of processes that are dead. That nobody alive is writing there it knows
// by a lock on the folder, which writers share and which the system releases when they die. Where
// there are no such locks, temporary files are left alone for a day.
//
// # Errors
//
// Errors say what was done to which file. The package that calls puts its name before them.
package file
