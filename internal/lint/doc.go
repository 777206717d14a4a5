// Package lint holds the rules of the house as tests:
//
//   - a package imports only the packages of the module that policy.go names for it;
//   - what policy.go forbids is imported only where it allows that;
//   - every package has a comment, and so has every exported declaration;
//   - doc.go of the root has a line for every public package, below those of what it imports;
//   - what importers see uses only types that they can name;
//   - examples for go doc use nothing internal;
//   - testdata/api has written down what importers see;
//   - no line is too long.
//
// The tests parse the sources in their own process. A test that asked the go command for the
// packages would stay green from the test cache: the cache knows what files a test opens, but not
// what its child processes read.
//
// They know the sources by their syntax alone. What does not show in it, such as the type of a
// variable that a function returns, is an error: the source is to say it.
//
// A new package fails the tests until policy.go has a line for it.
package lint
