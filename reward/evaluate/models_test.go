package evaluate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/measure"
)

// compared are the miniature and one of other weights, whose folder is empty. loads counts how
// often a model is read.
func compared(t *testing.T, loads *int) *Models {
	m := &Models{
		Request: pipeline.Request{
			Prompts: []string{"a star", "two hearts"}, PerPrompt: 2, Steps: 1, Guidance: 1, Seed: 3,
			Batch: 3,
		},
		BestOf: 3, Folder: filepath.Join(t.TempDir(), "run"), Progress: report.Plain(io.Discard),
	}
	m.Load = func(a ArmReport) (*pipeline.Pipeline, error) {
		*loads++
		p, err := pipeline.LoadFS(tiny.FS())
		if err == nil && a.Model != "tiny" {
			nn.Init(p.UNet, 5)
		}
		return p, err
	}
	m.Add("tiny", "")
	m.Add("other", "")
	return m
}

// files are what is in a folder.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		all[strings.TrimPrefix(name, dir)] = string(text)
		return err
	}))
	return all
}

// Pictures that are there are not made again, and those that are not are what they were.
func TestModels(t *testing.T) {
	loads, ctx := 0, t.Context()
	m := compared(t, &loads)
	hashes, err := m.Check(ctx)
	require.NoError(t, err)
	require.Len(t, hashes, 2)
	require.NotEqual(t, hashes["base"]["unet"], hashes["tuned"]["unet"])
	require.Equal(t, hashes["base"]["vae"], hashes["tuned"]["vae"])
	require.NoError(t, m.Paint(ctx))
	require.Equal(t, 4, loads)
	painted := files(t, m.Folder)
	require.Len(t, painted, 4+2*4+4+3)
	for dir, count := range map[string]int{"base": 4, "candidates": 8, "tuned": 4} {
		there, err := dataset.Verify(ctx, filepath.Join(m.Folder, dir))
		require.NoError(t, err)
		require.Len(t, there, count)
	}
	require.NoError(t, m.Paint(ctx))
	require.Equal(t, 4, loads, "there is nothing to make")

	// The reward is how dark a picture's corner is.
	dark := func(_ context.Context, samples []dataset.Sample) (scores []float64, _ error) {
		for _, s := range samples {
			r, _, _, _ := s.Image.At(1, 1).RGBA()
			scores = append(scores, 1-float64(r)/0xffff)
		}
		return scores, nil
	}
	by := &Scorer{Reward: reward.Func(dark), CLIP: encoder(t)}
	r, arms, err := m.Score(ctx, by)
	require.NoError(t, err)
	require.Len(t, arms, 3)
	require.Len(t, r.Arms, 3)
	require.Equal(t, "best_of_3", r.Arms[2].Name)
	require.Equal(t, "best_of_3/samples.jsonl", r.Arms[2].Samples)
	require.Equal(t, r.Arms[0].UNet, r.Arms[2].UNet)
	require.Equal(t, "best of 3 − base", r.Tables()[0].Rows[1][0])
	page, err := r.Page(ctx, m.Folder, arms)
	require.NoError(t, err)
	require.Equal(t, "other against tiny", page.Title)
	require.Equal(t, []string{"base", "tuned", "best of 3"}, pageGrid(t, page).Columns)
	require.Len(t, pageGrid(t, page).Rows, 2)
	scored := files(t, m.Folder)

	for cut, lines := range map[string]int{"base": 1, "candidates": 5, "tuned": 0, "best_of_3": 2} {
		name := filepath.Join(m.Folder, cut, "samples.jsonl")
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		kept := strings.Join(strings.SplitAfter(string(text), "\n")[:lines], "")
		require.NoError(t, os.WriteFile(name, []byte(kept+`{"prom`), 0o644))
		require.NoError(t, m.Paint(ctx))
		again, _, err := m.Score(ctx, by)
		require.NoError(t, err)
		require.Equal(t, r, again)
		require.Equal(t, scored, files(t, m.Folder))
	}

	gone := filepath.Join(m.Folder, "candidates", "samples", "00006.png")
	require.NoError(t, os.Remove(gone))
	err = m.Paint(ctx)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, filepath.Join("candidates", "samples.jsonl")+":3: ")
}

// encoder is the miniature's CLIP.
func encoder(t *testing.T) reward.Encoder {
	t.Helper()
	e, err := tiny.CLIP()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// Models whose latents are not alike have no noise in common.
// A disk without the room for all pictures is said before the first is made.
func TestPicturesNeedRoom(t *testing.T) {
	loads := 0
	m := compared(t, &loads)
	_, err := m.Check(t.Context())
	require.NoError(t, err)
	defer func(was func(string) (int64, bool)) { file.Free = was }(file.Free)
	// Two models and two more draws, of two prompts and two pictures each.
	const bytes = (2 + 2) * 2 * 2 * 64 * 64 * 3 / 2
	for _, free := range []int64{bytes - 1, bytes} {
		file.Free = func(string) (int64, bool) { return free, true }
		err := m.Paint(t.Context())
		if free < bytes {
			require.ErrorContains(t, err, "the pictures need 96.00KiB on the disk of "+m.Folder)
			require.NoDirExists(t, m.Folder)
			continue
		}
		require.NoError(t, err)
	}
}

func TestCheckModels(t *testing.T) {
	loads := 0
	m := compared(t, &loads)
	load := m.Load
	m.Load = func(a ArmReport) (*pipeline.Pipeline, error) {
		p, err := load(a)
		if a.Name == "tuned" {
			p.UNet.Config.InChannels++
		}
		return p, err
	}
	_, err := m.Check(t.Context())
	require.ErrorContains(t, err, "tuned: its latents are ")
	broken := errors.New("broken")
	m.Load = func(ArmReport) (*pipeline.Pipeline, error) { return nil, broken }
	_, err = m.Check(t.Context())
	require.ErrorIs(t, err, broken)
	require.NoDirExists(t, m.Folder)
}

func TestAddModels(t *testing.T) {
	var m Models
	for i := range 4 {
		m.Add(fmt.Sprint("m", i), "")
	}
	var names []string
	for _, a := range m.Arms {
		names = append(names, a.Name+"|"+a.Title+"|"+a.Model+"|"+a.Samples)
	}
	require.Equal(t, []string{
		"base|base|m0|base/samples.jsonl", "tuned|tuned|m1|tuned/samples.jsonl",
		"tuned_2|tuned 2|m2|tuned_2/samples.jsonl", "tuned_3|tuned 3|m3|tuned_3/samples.jsonl",
	}, names)
}

// pageGrid is a page's pictures.
func pageGrid(t *testing.T, page report.Page) report.Grid {
	for _, b := range page.Blocks {
		if g, ok := b.(report.Grid); ok {
			return g
		}
	}
	t.Fatal("the page has no grid")
	return report.Grid{}
}

// What report.json calls things is what other programs read.
func TestReportNames(t *testing.T) {
	text, err := json.Marshal(Report{
		Arms:        []ArmReport{{Summary: Summary{Reward: new(0.5)}}},
		Differences: []Difference{{Reward: &measure.Difference{Low: -1}}},
	})
	require.NoError(t, err)
	require.JSONEq(t, `{
		"prompts":0, "per_prompt":0, "best_of":0, "sampler":"", "steps":0, "eta":0, "guidance":0,
		"negative":"", "width":0, "height":0, "seed":0, "clip":"",
		"arms":[{"name":"", "model":"", "unet":"", "samples":"", "reward":0.5, "clip_score":0}],
		"differences":[{
			"arm":"", "from":"", "reward":{"mean":0, "low":-1, "high":0, "n":0},
			"clip_score":{"mean":0, "low":0, "high":0, "n":0}
		}]
	}`, string(text))
}

// Of many prompts the page shows the first ones, and of one that an arm lacks pictures of, none.
func TestPageOfManyPrompts(t *testing.T) {
	dir := t.TempDir()
	arm := &Arm{Name: "base"}
	for i := range shown + 1 {
		arm.Samples = append(arm.Samples, dataset.Sample{
			ID: fmt.Sprint(i), Prompt: fmt.Sprint("prompt ", i), Reward: new(float64(i)),
			Image: image.NewGray(image.Rect(0, 0, 4, 4)),
		})
	}
	_, err := dataset.WriteFolder(t.Context(), dir, dataset.FromSlice(arm.Samples))
	require.NoError(t, err)
	for i := range arm.Samples {
		arm.Samples[i].File = fmt.Sprintf("samples/%d.png", i)
	}
	r := &Report{Prompts: shown + 1, PerPrompt: 1, Reward: "r"}
	g, err := r.grid(t.Context(), dir, []*Arm{arm})
	require.NoError(t, err)
	require.Len(t, g.Rows, shown)
	require.Equal(t, "prompt 23", g.Rows[23].Label)
	require.Equal(t, "23.00", g.Rows[23].Cells[0].Note)
	require.Contains(t, g.Note, "the first 24 prompts")
	require.Contains(t, g.Note, "the picture's reward")
	_, err = r.grid(t.Context(), dir, []*Arm{arm.Slice(0, 3)})
	require.ErrorContains(t, err, "base has 3 samples, not 1 of each of 25 prompts")
}
