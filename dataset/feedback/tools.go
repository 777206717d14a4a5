package feedback

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/text"
)

// object is a JSON object whose values are read when they are needed.
type object map[string]json.RawMessage

// text returns a value as text: a string as it is, and a number or a truth value as JSON has it. It
// is "" where there is no value.
func (o object) text(key string) (string, error) { return textOf(o[key], key) }

func textOf(value json.RawMessage, what string) (string, error) {
	value = bytes.TrimSpace(value)
	if len(value) == 0 || string(value) == "null" {
		return "", nil
	}
	switch value[0] {
	case '"':
		var s string
		err := json.Unmarshal(value, &s)
		return s, err
	case '{', '[':
		return "", fmt.Errorf("%q is not a text but %.40s", what, value)
	}
	return string(value), nil
}

// number returns a number, or 0 where there is none.
func (o object) number(key string) (float64, error) {
	text, err := o.text(key)
	if err != nil || text == "" {
		return 0, err
	}
	return strconv.ParseFloat(text, 64)
}

// objects yields the objects of a JSON array, or of a file with one after another, as JSONL is.
// Errors name the file and the object, the first of which is 1.
func objects[T any](r io.Reader, name string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		n := 0
		fail := func(err error) {
			var none T
			if odd := (*text.Error)(nil); errors.As(err, &odd) {
				yield(none, &dataset.LineError{File: name, Line: odd.Line, Err: odd.Err})
				return
			}
			yield(none, fmt.Errorf("feedback: %s: record %d: bad JSON: %w", name, n, err))
		}
		limit := &limited{r: text.NewReader(r), most: mostRecord}
		in := bufio.NewReader(limit)
		d := json.NewDecoder(in)
		array := false
		if first, err := firstByte(in); err != nil && err != io.EOF {
			fail(err)
			return
		} else if array = first == '['; array {
			if _, err := d.Token(); err != nil {
				fail(err)
				return
			}
		}
		for d.More() {
			n++
			limit.read = 0
			var t T
			if err := d.Decode(&t); err != nil {
				fail(err)
				return
			}
			if !yield(t, nil) {
				return
			}
		}
		if array {
			if _, err := d.Token(); err == io.EOF {
				fail(io.ErrUnexpectedEOF)
				return
			} else if err != nil {
				fail(err)
				return
			}
		}
		if _, err := d.Token(); err == nil {
			fail(errors.New("there is more after the end"))
		} else if err != io.EOF {
			fail(err)
		}
	}
}

// mostRecord is how much may be read for one record, in bytes: a picture in it has some millions.
const mostRecord = 64 << 20

// A limited reader ends with an error when more than most bytes were read.
type limited struct {
	r          io.Reader
	most, read int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.read > l.most {
		return 0, fmt.Errorf("it has more than %d bytes", l.most)
	}
	n, err := l.r.Read(p)
	l.read += n
	return n, err
}

// firstByte returns the first byte that is not space, without reading it.
func firstByte(r *bufio.Reader) (byte, error) {
	for {
		b, err := r.Peek(1)
		if err != nil {
			return 0, err
		}
		if !strings.ContainsRune(" \t\r\n", rune(b[0])) {
			return b[0], nil
		}
		r.Discard(1)
	}
}

// records yields the records that read makes of each thing. Errors name the file and the thing.
func records[T any](
	things iter.Seq2[T, error], name string, read func(T) ([]Record, error),
) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		n := 0
		for t, err := range things {
			if err != nil {
				yield(Record{}, err)
				return
			}
			n++
			all, err := read(t)
			if err != nil {
				yield(Record{}, fmt.Errorf("feedback: %s: record %d: %w", name, n, err))
				return
			}
			for _, r := range all {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// ReadProdigy reads JSONL as Prodigy writes it (prodi.gy/docs/api-interfaces): an object for each
// thing that was labelled, with its fields, answer ("accept", "reject" or "ignore"), and where
// Prodigy is set up for it _annotator_id, _session_id and _timestamp in seconds. The prompt may be
// in meta. A picture that is in the file itself, as a data: address, is known by its path.
//
// With Fields.Label "accept" the label is the option that was chosen; an answer "ignore" is a Skip
// even then, and one "reject" is passed over.
func ReadProdigy(r io.Reader, name string, f Fields) iter.Seq2[Record, error] {
	f = f.complete()
	return records(objects[object](r, name), name, func(o object) ([]Record, error) {
		record, there, err := f.prodigy(o)
		if err != nil || !there {
			return nil, err
		}
		whole, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		record, err = f.finish(record, "prodigy", string(whole))
		return []Record{record}, err
	})
}

func (f Fields) prodigy(o object) (r Record, there bool, err error) {
	meta := object{}
	if o["meta"] != nil {
		if err := json.Unmarshal(o["meta"], &meta); err != nil {
			return r, false, fmt.Errorf("meta: %w", err)
		}
	}
	texts := map[string]string{}
	for _, key := range []string{
		f.Picture, "path", f.Prompt, "answer", "_annotator_id", "_session_id",
	} {
		if texts[key], err = o.text(key); err != nil {
			return r, false, err
		}
	}
	r.Picture, r.Prompt, r.Rater = texts[f.Picture], texts[f.Prompt], texts["_annotator_id"]
	if r.Picture == "" || strings.HasPrefix(r.Picture, "data:") {
		r.Picture = texts["path"]
	}
	if r.Prompt == "" {
		if r.Prompt, err = meta.text(f.Prompt); err != nil {
			return r, false, err
		}
	}
	if r.Rater == "" {
		r.Rater = texts["_session_id"]
	}
	at, err := o.number("_timestamp")
	if err != nil {
		return r, false, fmt.Errorf("_timestamp: %w", err)
	}
	if at > 0 && at < 1e11 {
		r.At = moment(int64(at * 1000))
	}
	value := texts["answer"]
	if f.Label != "" && value == "accept" {
		if value, err = chosen(o[f.Label], f.Label); err != nil {
			return r, false, err
		}
	} else if f.Label != "" && value == "reject" {
		return r, false, nil
	}
	r.Label, err = f.label(value)
	return r, true, err
}

// chosen returns the one text of a JSON array of texts.
func chosen(value json.RawMessage, what string) (string, error) {
	var all []json.RawMessage
	if err := json.Unmarshal(value, &all); err != nil {
		return "", fmt.Errorf("%q: %w", what, err)
	}
	if len(all) != 1 {
		return "", fmt.Errorf("%q has %d values, not one", what, len(all))
	}
	return textOf(all[0], what)
}

// ReadArgilla reads records of Argilla 2, as a JSON array or as JSONL, in either form in which
// Argilla exports them (docs.argilla.io, how-to guide "Import and export"). Nested:
//
//	{"id":…,"fields":{"image":…,"prompt":…},"metadata":{…},
//	 "responses":{"quality":[{"value":"good","user_id":…}]}}
//
// Flat, the fields are beside quality.responses, quality.responses.users and
// quality.responses.status, which are arrays in the same order. A response that was discarded is a
// Skip, and a draft is passed over. The prompt may be in the metadata.
func ReadArgilla(r io.Reader, name string, f Fields) iter.Seq2[Record, error] {
	f = f.complete()
	return records(objects[object](r, name), name, f.argilla)
}

// A response is what one user has answered in Argilla.
type response struct {
	Value  json.RawMessage `json:"value"`
	User   string          `json:"user_id"`
	Status string          `json:"status"`
}

func (f Fields) argilla(o object) (all []Record, err error) {
	fields, metadata := o, object{}
	if o["fields"] != nil {
		if err := json.Unmarshal(o["fields"], &fields); err != nil {
			return nil, fmt.Errorf("fields: %w", err)
		}
	}
	if o["metadata"] != nil {
		if err := json.Unmarshal(o["metadata"], &metadata); err != nil {
			return nil, fmt.Errorf("metadata: %w", err)
		}
	}
	id, err := o.text("id")
	if err != nil {
		return nil, err
	}
	responses, question, err := f.responses(o)
	if err != nil {
		return nil, err
	}
	var r Record
	if r.Picture, err = fields.text(f.Picture); err != nil {
		return nil, err
	}
	if r.Prompt, err = fields.text(f.Prompt); err == nil && r.Prompt == "" {
		r.Prompt, err = metadata.text(f.Prompt)
	}
	if err != nil {
		return nil, err
	}
	for _, said := range responses {
		r.Rater = said.User
		value, err := textOf(said.Value, question)
		if err != nil {
			return nil, err
		}
		switch said.Status {
		case "draft", "pending":
			continue
		case "discarded":
			r.Label = dataset.Skip
		default:
			if r.Label, err = f.label(value); err != nil {
				return nil, err
			}
		}
		done, err := f.finish(r, "argilla", id, question, said.User, said.Status, value)
		if err != nil {
			return nil, err
		}
		all = append(all, done)
	}
	return all, nil
}

// responses returns the responses of a record to the question of the labels, and its name.
func (f Fields) responses(o object) (all []response, question string, err error) {
	const ending = ".responses"
	byQuestion := map[string]json.RawMessage{}
	if o["responses"] != nil {
		if err := json.Unmarshal(o["responses"], &byQuestion); err != nil {
			return nil, "", fmt.Errorf("responses: %w", err)
		}
	}
	flat := o["responses"] == nil
	if flat {
		for key, value := range o {
			if q, ok := strings.CutSuffix(key, ending); ok {
				byQuestion[q] = value
			}
		}
	}
	if question = f.Label; question == "" {
		if len(byQuestion) > 1 {
			return nil, "", fmt.Errorf("there are %d questions: say which has the label",
				len(byQuestion))
		}
		for q := range byQuestion {
			question = q
		}
	}
	value := byQuestion[question]
	if len(value) == 0 || string(value) == "null" {
		return nil, question, nil // nobody has answered
	}
	if !flat {
		err := json.Unmarshal(value, &all)
		return all, question, err
	}
	var values, users, statuses []json.RawMessage
	for key, to := range map[string]*[]json.RawMessage{
		ending: &values, ending + ".users": &users, ending + ".status": &statuses,
	} {
		if text := o[question+key]; text != nil {
			if err := json.Unmarshal(text, to); err != nil {
				return nil, "", fmt.Errorf("%s%s: %w", question, key, err)
			}
		}
	}
	fits := func(other []json.RawMessage) bool { return other == nil || len(other) == len(values) }
	if !fits(users) || !fits(statuses) {
		return nil, "", fmt.Errorf("%s has %d responses of %d users with %d statuses", question,
			len(values), len(users), len(statuses))
	}
	for i, v := range values {
		r := response{Value: v}
		if users != nil {
			if r.User, err = textOf(users[i], question); err != nil {
				return nil, "", err
			}
		}
		if statuses != nil {
			if r.Status, err = textOf(statuses[i], question); err != nil {
				return nil, "", err
			}
		}
		all = append(all, r)
	}
	return all, question, nil
}

// ReadCSV reads a CSV file (RFC 4180) whose first line names the columns: those of Fields.Picture,
// Fields.Prompt and Fields.Label, and rater, reason, seconds, at and answer where they are there.
// seconds is how long it took, at a time as RFC 3339 has it, and answer an ID. What other columns
// say is passed over. A line without a label is too. A line that is wrong is a *dataset.LineError.
func ReadCSV(r io.Reader, name string, f Fields) iter.Seq2[Record, error] {
	f = f.complete()
	if f.Label == "" {
		f.Label = "label"
	}
	read := func(row map[string]string, whole []string) (r Record, there bool, err error) {
		if strings.TrimSpace(row[f.Label]) == "" {
			return r, false, nil
		}
		r = Record{
			Picture: row[f.Picture], Prompt: row[f.Prompt], Rater: row["rater"],
			Reason: row["reason"],
		}
		if r.Label, err = f.label(row[f.Label]); err != nil {
			return r, false, err
		}
		if r.At, err = when(row["at"]); err != nil {
			return r, false, err
		}
		if text := row["seconds"]; text != "" {
			s, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return r, false, fmt.Errorf("seconds: %w", err)
			}
			r.Taken = seconds(s)
		}
		r, err = f.finish(r, "csv", whole...)
		if row["answer"] != "" {
			r.Answer = row["answer"]
		}
		return r, true, err
	}
	return rows(r, name, []string{f.Picture, f.Label}, read)
}

// rows yields the records that read makes of the lines of a CSV file, by their columns and whole.
// Some columns have to be there.
func rows(
	r io.Reader, name string, needed []string,
	read func(row map[string]string, whole []string) (Record, bool, error),
) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		in := csv.NewReader(text.NewReader(r))
		columns, err := in.Read()
		if err == nil {
			err = checkColumns(columns, needed)
		}
		if err != nil {
			yield(Record{}, badRow(name, 1, err))
			return
		}
		for {
			whole, err := in.Read()
			if err == io.EOF {
				return
			}
			var record Record
			line, there := 0, false
			if err == nil {
				line, _ = in.FieldPos(0)
				row := map[string]string{}
				for i, c := range columns {
					row[c] = whole[i]
				}
				record, there, err = read(row, whole)
			}
			if err != nil {
				yield(Record{}, badRow(name, line, err))
				return
			}
			if there && !yield(record, nil) {
				return
			}
		}
	}
}

// badRow is an error of a CSV file, in a line unless it says itself in which.
func badRow(name string, line int, err error) error {
	if wrong := (*csv.ParseError)(nil); errors.As(err, &wrong) {
		line, err = wrong.Line, wrong.Err
	} else if odd := (*text.Error)(nil); errors.As(err, &odd) {
		line, err = odd.Line, odd.Err
	}
	return &dataset.LineError{File: name, Line: line, Err: err}
}

// checkColumns returns an error if a column is missing, or there twice.
func checkColumns(columns, needed []string) error {
	count := map[string]int{}
	for _, c := range columns {
		if count[c]++; count[c] > 1 {
			return fmt.Errorf("two columns are named %q", c)
		}
	}
	for _, n := range needed {
		if count[n] == 0 {
			return fmt.Errorf("no column is named %q; there are %q", n, columns)
		}
	}
	return nil
}
