// Package filetest holds programs to what other systems allow.
//
// Windows does not rename or remove a file that is open, nor a folder in which one is. It does not
// rename anything over an open file, or over a folder. It takes names that differ in case alone for
// one, and has no names such as con or a:b. A program that is wrong there is right on Linux. So its
// tests run whole small runs, and look at each operation before it is done.
package filetest
