// Package memory says how much memory there is for this process.
package memory
