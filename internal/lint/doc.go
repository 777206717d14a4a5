// Package lint holds the rules of the house as tests: which package may import which, what nobody may
// import, that everything public is documented, that what importers see is named by packages that they
// may import, and that testdata/api has it written down.
//
// The tests parse the sources in their own process. One that asked the go command for the packages would stay green
// from the test cache, which knows what files a test opens but not what its children read.
//
// A new package fails the tests until policy.go has a line for it.
package lint
