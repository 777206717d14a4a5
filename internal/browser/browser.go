// Package browser has the tests of kudos's pages in a real browser. They need Chromium, and skip
// where there is none. It is a module of its own, so that users of kudos have nothing of it.
//
//	go -C internal/browser test ./...
package browser
