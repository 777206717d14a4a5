package feedback

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/kudos-ml/kudos/dataset"
)

// A labelStudioTask is a task of Label Studio's JSON.
type labelStudioTask struct {
	ID          json.RawMessage         `json:"id"`
	Data        object                  `json:"data"`
	Annotations []labelStudioAnnotation `json:"annotations"`
	Completions []labelStudioAnnotation `json:"completions"` // what old versions call them
}

type labelStudioAnnotation struct {
	ID          json.RawMessage     `json:"id"`
	CompletedBy json.RawMessage     `json:"completed_by"`
	Cancelled   bool                `json:"was_cancelled"`
	Skipped     bool                `json:"skipped"` // what old versions call it
	Created     string              `json:"created_at"`
	Updated     string              `json:"updated_at"`
	LeadTime    float64             `json:"lead_time"` // seconds
	Result      []labelStudioResult `json:"result"`
}

type labelStudioResult struct {
	From  string `json:"from_name"`
	Type  string `json:"type"`
	Value object `json:"value"`
}

// ReadLabelStudio reads the JSON that Label Studio exports (labelstud.io/guide/export): an array of
// tasks, each with its data and the annotations of it. The label is the choice of a Choices
// control, or the number of a Rating. An annotation that was skipped is a Skip, and one that says
// nothing is passed over. The text of a TextArea is the reason. A rater is known by the address of
// completed_by, or by its number.
func ReadLabelStudio(r io.Reader, name string, f Fields) iter.Seq2[Record, error] {
	f = f.complete()
	tasks := objects[labelStudioTask](r, name)
	return records(tasks, name, func(t labelStudioTask) (all []Record, err error) {
		common := Record{}
		if common.Picture, err = t.Data.text(f.Picture); err != nil {
			return nil, err
		}
		if common.Prompt, err = t.Data.text(f.Prompt); err != nil {
			return nil, err
		}
		task, err := textOf(t.ID, "id")
		if err != nil {
			return nil, err
		}
		for i, a := range append(t.Annotations, t.Completions...) {
			r, there, err := f.annotation(common, a)
			if err == nil && there {
				r, err = f.fromLabelStudio(r, task, a.ID, a.Updated)
				all = append(all, r)
			}
			if err != nil {
				return nil, fmt.Errorf("annotation %d of task %s: %w", i+1, task, err)
			}
		}
		return all, nil
	})
}

// fromLabelStudio completes a record. Its answer has the same ID in all the forms of a file. One
// that was changed there has another one, and so corrects the one before.
func (f Fields) fromLabelStudio(
	r Record, task string, annotation json.RawMessage, updated string,
) (Record, error) {
	id, err := textOf(annotation, "id")
	if err != nil {
		return r, err
	}
	return f.finish(r, "label-studio", task, id, updated, r.Label.String())
}

// annotation reads an annotation into a record.
func (f Fields) annotation(r Record, a labelStudioAnnotation) (_ Record, there bool, err error) {
	if r.Rater, err = completedBy(a.CompletedBy); err != nil {
		return r, false, err
	}
	if r.At, err = when(a.Updated); err == nil && r.At.IsZero() {
		r.At, err = when(a.Created)
	}
	if err != nil {
		return r, false, err
	}
	r.Taken = seconds(a.LeadTime)
	if a.Cancelled || a.Skipped {
		r.Label = dataset.Skip
		return r, true, nil
	}
	for _, result := range a.Result {
		switch {
		case result.Type == "textarea":
			var text []string
			if err := json.Unmarshal(result.Value["text"], &text); err != nil {
				return r, false, fmt.Errorf("the text of %q: %w", result.From, err)
			}
			r.Reason = strings.Join(text, "\n")
			continue
		case f.Label != "" && result.From != f.Label:
			continue
		case there:
			return r, false, fmt.Errorf("more than %q says something: say which is the label",
				result.From)
		}
		value, err := result.value()
		if err == nil {
			r.Label, err = f.label(value)
		}
		if err != nil {
			return r, false, err
		}
		there = true
	}
	if !there && len(a.Result) > 0 && f.Label != "" {
		return r, false, fmt.Errorf("there is no control %q", f.Label)
	}
	return r, there, nil
}

// value is what a control says.
func (r labelStudioResult) value() (string, error) {
	switch r.Type {
	case "choices":
		return chosen(r.Value["choices"], r.From)
	case "rating":
		return r.Value.text("rating")
	}
	return "", fmt.Errorf("%q has the type %q, and only choices and ratings are labels", r.From,
		r.Type)
}

// completedBy is a rater: {"id":1,"email":"…"}, or 1.
func completedBy(value json.RawMessage) (string, error) {
	if value = bytes.TrimSpace(value); len(value) == 0 || value[0] != '{' {
		return textOf(value, "completed_by")
	}
	var user object
	if err := json.Unmarshal(value, &user); err != nil {
		return "", fmt.Errorf("completed_by: %w", err)
	}
	if email, err := user.text("email"); err != nil || email != "" {
		return email, err
	}
	return user.text("id")
}

// errNoControl says that Fields.Label is needed.
var errNoControl = errors.New("say which control has the label: it looks like any other field")

// ReadLabelStudioMin reads what Label Studio exports as JSON_MIN: an array with an object for each
// annotation, which has the fields of the task and of each control what it says. Fields.Label has
// to name the control. An annotation of which the control says nothing is passed over.
func ReadLabelStudioMin(r io.Reader, name string, f Fields) iter.Seq2[Record, error] {
	f = f.complete()
	return records(objects[object](r, name), name, func(o object) ([]Record, error) {
		record, there, err := f.labelStudioMin(o)
		if err != nil || !there {
			return nil, err
		}
		return []Record{record}, nil
	})
}

// ReadLabelStudioCSV reads what Label Studio exports as CSV. It has the columns of JSON_MIN. What
// is not a text there is JSON in a cell.
func ReadLabelStudioCSV(r io.Reader, name string, f Fields) iter.Seq2[Record, error] {
	f = f.complete()
	needed := []string{f.Picture}
	if f.Label != "" {
		needed = append(needed, f.Label)
	}
	return rows(r, name, needed, func(row map[string]string, _ []string) (Record, bool, error) {
		o := object{}
		for key, cell := range row {
			value := json.RawMessage(cell)
			if cell == "" {
				continue
			}
			if !strings.ContainsAny(cell[:1], "{[") || !json.Valid(value) {
				value, _ = json.Marshal(cell) // a string always has a JSON form
			}
			o[key] = value
		}
		return f.labelStudioMin(o)
	})
}

func (f Fields) labelStudioMin(o object) (r Record, there bool, err error) {
	if f.Label == "" {
		return r, false, errNoControl
	}
	value, err := minValue(o[f.Label], f.Label)
	if err != nil || value == "" {
		return r, false, err
	}
	if r.Label, err = f.label(value); err != nil {
		return r, false, err
	}
	texts := map[string]string{}
	for _, key := range []string{"id", "annotator", "created_at", "updated_at"} {
		if texts[key], err = o.text(key); err != nil {
			return r, false, err
		}
	}
	for key, to := range map[string]*string{f.Picture: &r.Picture, f.Prompt: &r.Prompt} {
		// A field of the data that is named as one of these is called so.
		if *to, err = o.text("_data_" + key); err == nil && *to == "" {
			*to, err = o.text(key)
		}
		if err != nil {
			return r, false, err
		}
	}
	r.Rater = texts["annotator"]
	if r.At, err = when(texts["updated_at"]); err == nil && r.At.IsZero() {
		r.At, err = when(texts["created_at"])
	}
	if err != nil {
		return r, false, err
	}
	took, err := o.number("lead_time")
	if err != nil {
		return r, false, fmt.Errorf("lead_time: %w", err)
	}
	r.Taken = seconds(took)
	r, err = f.fromLabelStudio(r, texts["id"], o["annotation_id"], texts["updated_at"])
	return r, true, err
}

// minValue is what a control says in JSON_MIN: "good", 4, {"choices":["good"]} or [{"rating":4}].
func minValue(value json.RawMessage, control string) (string, error) {
	value = bytes.TrimSpace(value)
	if len(value) == 0 || value[0] != '{' && value[0] != '[' {
		return textOf(value, control)
	}
	if value[0] == '[' {
		var all []json.RawMessage
		if err := json.Unmarshal(value, &all); err != nil {
			return "", fmt.Errorf("%q: %w", control, err)
		}
		if len(all) != 1 {
			return "", fmt.Errorf("%q has %d values, not one", control, len(all))
		}
		if value = bytes.TrimSpace(all[0]); len(value) == 0 || value[0] != '{' {
			return textOf(value, control)
		}
	}
	var says object
	if err := json.Unmarshal(value, &says); err != nil {
		return "", fmt.Errorf("%q: %w", control, err)
	}
	if says["choices"] != nil {
		return chosen(says["choices"], control)
	}
	if says["rating"] != nil {
		return says.text("rating")
	}
	return "", fmt.Errorf("%q says neither a choice nor a rating", control)
}
