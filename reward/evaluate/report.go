package evaluate

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/finetune/report"
)

// A Report is report.json of models that are compared with a base, and with the best of n pictures
// of the base: how the pictures were made, and what was found. The first arm is the base; where
// BestOf is above 1, the last is the best of so many.
type Report struct {
	Prompts   int     `json:"prompts"`
	PerPrompt int     `json:"per_prompt"` // pictures of each prompt in each arm
	BestOf    int     `json:"best_of"`    // 1: there is no such arm
	Sampler   string  `json:"sampler"`
	Steps     int     `json:"steps"`
	Eta       float64 `json:"eta"`
	Guidance  float64 `json:"guidance"`
	Negative  string  `json:"negative"`
	Width     int     `json:"width"`
	Height    int     `json:"height"`
	Seed      uint64  `json:"seed"`
	CLIP      string  `json:"clip"`             // its folder
	Reward    string  `json:"reward,omitempty"` // its folder

	Arms        []ArmReport  `json:"arms"`
	Differences []Difference `json:"differences"`
}

// An ArmReport is what made an arm's pictures, and what they are like.
type ArmReport struct {
	Name      string  `json:"name"`
	Model     string  `json:"model"`
	LoRA      string  `json:"lora,omitempty"`       // the adapter's file; "" without one
	LoRAScale float64 `json:"lora_scale,omitempty"` // of the adapter
	UNet      string  `json:"unet"`                 // hash of its weights
	Samples   string  `json:"samples"`              // the file that lists the pictures
	Summary
}

// found is what was found, without how it was made.
func (r *Report) found() *Result {
	found := &Result{Differences: r.Differences}
	for _, a := range r.Arms {
		found.Arms = append(found.Arms, a.Summary)
	}
	return found
}

// Tables are what the terminal and the page both show: see Result.Tables.
func (r *Report) Tables() []report.Table {
	note := fmt.Sprintf("With 95 %% intervals of %d pairs of pictures from the same noise",
		r.Prompts*r.PerPrompt)
	if r.Prompts > 1 {
		note += ", clustered by prompt"
	}
	return r.found().Tables(note + ".")
}

// Page is report.html. The arms are those that were compared; the paths of their pictures are
// relative to dir.
func (r *Report) Page(ctx context.Context, dir string, arms []*Arm) (report.Page, error) {
	of, found := fmt.Sprintf("%d pictures", r.PerPrompt), r.found()
	if r.PerPrompt == 1 {
		of = "one picture"
	}
	page := report.Page{
		Title: r.title(),
		Lead: fmt.Sprintf("%d prompts, %s of each from every model, from the same noise for "+
			"all. %s", r.Prompts, of, found.Verdict()),
		Blocks: append([]report.Block{found.Figures()}, found.Charts()...),
	}
	grid, err := r.grid(ctx, dir, arms)
	if err != nil {
		return page, err
	}
	page.Blocks = append(page.Blocks, grid)
	for _, t := range r.Tables() {
		page.Blocks = append(page.Blocks, t)
	}
	how := report.Text{Title: "How the pictures were made", Body: r.how()}
	page.Blocks = append(page.Blocks, how)
	return page, nil
}

// how says which models made the pictures, and how.
func (r *Report) how() string {
	var models []string
	for _, a := range r.Arms {
		model := a.Title + ": " + a.Model
		if a.LoRA != "" {
			model += fmt.Sprintf(" with %g × %s", a.LoRAScale, a.LoRA)
		}
		models = append(models, model)
	}
	how := strings.Join(models, "; ") + fmt.Sprintf(". Sampler %s, %d steps, guidance %g, "+
		"%d×%d pixels, seed %d", r.Sampler, r.Steps, r.Guidance, r.Width, r.Height, r.Seed)
	if r.Negative != "" {
		how += fmt.Sprintf(", away from %q", r.Negative)
	}
	return how + "."
}

// title says what is compared, by the names of files.
func (r *Report) title() string {
	name := func(a ArmReport) string { return filepath.Base(cmp.Or(a.LoRA, a.Model)) }
	models := r.Arms
	if r.BestOf > 1 {
		models = models[:len(models)-1]
	}
	if len(models) == 1 {
		return fmt.Sprintf("%s against its best of %d", name(models[0]), r.BestOf)
	}
	var tuned []string
	for _, a := range models[1:] {
		tuned = append(tuned, name(a))
	}
	return strings.Join(tuned, ", ") + " against " + name(models[0])
}

// shown is how many prompts the page shows.
const shown = 24

// grid shows each prompt's first picture, one column an arm.
func (r *Report) grid(ctx context.Context, dir string, arms []*Arm) (report.Grid, error) {
	g := report.Grid{Title: "From the same noise", Note: "The first picture of every prompt."}
	if r.Prompts > shown {
		g.Note = fmt.Sprintf("The first picture of each of the first %d prompts; none was chosen.",
			shown)
	}
	if r.Reward != "" {
		g.Note += " Beside each arm, the picture's reward."
	}
	g.Rows = make([]report.GridRow, min(shown, r.Prompts))
	for _, a := range arms {
		g.Columns = append(g.Columns, a.title())
		if len(a.Samples) != r.Prompts*r.PerPrompt {
			return g, fmt.Errorf("evaluate: %s has %d samples, not %d of each of %d prompts",
				a.Name, len(a.Samples), r.PerPrompt, r.Prompts)
		}
		var first []dataset.Sample
		for i := range g.Rows {
			first = append(first, a.Samples[i*r.PerPrompt])
		}
		i := 0
		for s, err := range dataset.WithImages(dataset.FromSlice(first), dir).All(ctx) {
			if err != nil {
				return g, err
			}
			cell := report.Picture{Image: s.Image}
			if s.Reward != nil {
				cell.Note = fmt.Sprintf("%.2f", *s.Reward)
			}
			g.Rows[i].Label, g.Rows[i].Cells = s.Prompt, append(g.Rows[i].Cells, cell)
			i++
		}
	}
	return g, nil
}
