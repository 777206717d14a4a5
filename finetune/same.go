package finetune

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A DifferentRunError says in what a run differs from the one that a folder holds.
type DifferentRunError struct {
	Folder      string
	Differences []string // each names a setting and both its values
}

// Error lists the differences.
func (e *DifferentRunError) Error() string {
	return "finetune: " + e.Folder + " holds a run of other settings, which these cannot resume:\n\t" +
		strings.Join(e.Differences, "\n\t")
}

// SameRun compares config, which is what config.json would be, with the config.json of a run
// folder. Settings in mayChange, and what is inside them, may differ; they are named as in "steps"
// or "optimizer.lr", where lists have numbers as in "files.0". If anything else differs, or one of
// both lacks it, that is a *DifferentRunError. A folder without config.json differs in nothing.
func SameRun(folder string, config any, mayChange ...string) error {
	name := filepath.Join(folder, configFile)
	there, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("finetune: %w", err)
	}
	here, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("finetune: config: %w", err)
	}
	before, now := map[string]string{}, map[string]string{}
	if err := flatten(there, before); err != nil {
		return fmt.Errorf("finetune: %s: %w", name, err)
	}
	if err := flatten(here, now); err != nil {
		return fmt.Errorf("finetune: config: %w", err)
	}
	e := &DifferentRunError{Folder: folder}
	for _, key := range settings(before, now) {
		if before[key] == now[key] || slices.ContainsFunc(mayChange, func(may string) bool {
			return key == may || strings.HasPrefix(key, may+".")
		}) {
			continue
		}
		e.Differences = append(e.Differences, fmt.Sprintf("%s was %s and is %s",
			key, value(before, key), value(now, key)))
	}
	if len(e.Differences) == 0 {
		return nil
	}
	return e
}

// settings are the names in either, in order.
func settings(a, b map[string]string) []string {
	var all []string
	for _, m := range []map[string]string{a, b} {
		for key := range m {
			all = append(all, key)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// value is a setting for people.
func value(of map[string]string, key string) string {
	const most = 100
	text, ok := of[key]
	if !ok {
		return "not there"
	}
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}

// flatten writes the numbers, texts and so on of a JSON text to a map, as JSON, by their path. A
// number is compared as it is written: no digit is lost.
func flatten(text []byte, to map[string]string) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return err
	}
	return walk(v, "", to)
}

func walk(v any, path string, to map[string]string) error {
	under := func(name string) string {
		if path == "" {
			return name
		}
		return path + "." + name
	}
	switch v := v.(type) {
	case map[string]any:
		for name, part := range v {
			if err := walk(part, under(name), to); err != nil {
				return err
			}
		}
		if len(v) > 0 {
			return nil
		}
	case []any:
		for i, part := range v {
			if err := walk(part, under(strconv.Itoa(i)), to); err != nil {
				return err
			}
		}
		if len(v) > 0 {
			return nil
		}
	}
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	to[path] = strings.TrimSuffix(text.String(), "\n")
	return err
}
