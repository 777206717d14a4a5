// Package file writes files and folders that are there whole or not at all, whatever happens to the
// process or the machine, and logs that lose at most the line that was being written.
//
// # Whole or not at all
//
// What is written goes to a temporary name in the same folder. It is synced to the disk, and then
// takes the name that it is meant for. The folder is synced after that, so that the name lasts too.
// Only the failure of this last step leaves the new file in place although there is an error. A
// file is closed before it is renamed: Windows does not rename open files.
//
// # What killed processes leave
//
// Temporary names begin with ".kudos-" and end in ".tmp". A process that writes to a folder for the
// first time removes what dead processes have left there under such names. All who write hold a
// lock on the folder together, which the system releases when they die. So a process that gets the
// lock for itself alone knows that nobody alive is writing there. Where there are no such locks,
// temporary files are left alone for a day.
//
// # Errors
//
// Errors say what was done to which file. They do not name this package: the package that calls
// puts its own name before them.
package file
