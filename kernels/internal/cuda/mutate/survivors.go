//go:build unix

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// survivors are the reasons why no test sees mutants, by file and key.
type survivors map[string]map[string]string

// entry is how a survivor is listed: the file and the mutation, then indented the line as it is in
// the file, and the reason.
func entry(file string, m Mutant, reason string) string {
	return fmt.Sprintf("%s: %s\n\t%s\n\t%s\n", file, m.Mutation, m.Line, reason)
}

// readSurvivors reads a list of survivors. Lines that begin with # are comments.
func readSurvivors(name string) (survivors, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseSurvivors(string(text))
}

func parseSurvivors(text string) (survivors, error) {
	all := make(survivors)
	var file, mutation, line string
	var reason []string
	add := func() error {
		if file == "" {
			return nil
		}
		if line == "" || len(reason) == 0 {
			return fmt.Errorf("%s: %s: the list has no line or no reason", file, mutation)
		}
		if all[file] == nil {
			all[file] = make(map[string]string)
		}
		key := Mutant{Mutation: mutation, Line: line}.Key()
		if _, twice := all[file][key]; twice {
			return fmt.Errorf("%s: %s: is listed twice", file, mutation)
		}
		all[file][key] = strings.Join(reason, " ")
		return nil
	}
	for l := range strings.Lines(text) {
		l = strings.TrimRight(l, "\n")
		indented, is := strings.CutPrefix(l, "\t")
		switch {
		case l == "" || strings.HasPrefix(l, "#"):
		case !is:
			if err := add(); err != nil {
				return nil, err
			}
			var ok bool
			if file, mutation, ok = strings.Cut(l, ": "); !ok {
				return nil, fmt.Errorf("the list of survivors has the line %q", l)
			}
			line, reason = "", nil
		case line == "":
			line = strings.TrimSpace(indented)
		default:
			reason = append(reason, strings.TrimSpace(indented))
		}
	}
	return all, add()
}
