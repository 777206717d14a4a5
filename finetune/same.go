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
	return fmt.Sprintf("finetune: %s holds a run of other settings, which these cannot resume:"+
		"\n\t%s", e.Folder, strings.Join(e.Differences, "\n\t"))
}

// compare compares Config with the folder's config.json. If anything differs that is not in
// MayChange, or one of both lacks it, that is a *DifferentRunError. Unless all settings are known
// by now, those that Config lacks do not count. A folder without config.json differs in nothing.
func (r *Run) compare(all bool) error {
	name := filepath.Join(r.Folder, configFile)
	there, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("finetune: %w", err)
	}
	here, err := json.Marshal(r.Config)
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
	e := &DifferentRunError{Folder: r.Folder}
	for _, key := range settings(before, now) {
		outer, _, _ := strings.Cut(key, ".")
		_, known := r.Config[outer]
		may := slices.ContainsFunc(r.MayChange, func(name string) bool {
			return key == name || strings.HasPrefix(key, name+".")
		})
		if before[key] == now[key] || may || !known && !all {
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
