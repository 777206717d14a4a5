//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/alignment"
	"github.com/kudos-ml/kudos/reward/evaluate"
)

// learn leaves a reward of little use in the place.
func (p place) learn(t *testing.T, name string, seed uint64) {
	t.Helper()
	encoder, err := tiny.CLIP()
	require.NoError(t, err)
	defer encoder.Close()
	training := &alignment.Training{
		CLIP: encoder, Samples: labelled(t), Hidden: 8, Passes: 1, Seed: seed, HeldOut: 0.15,
	}
	for _, err := range training.Epochs(t.Context()) {
		require.NoError(t, err)
	}
	require.NoError(t, training.Model().Save(p.out(name)))
}

// judged is what a guard's judges say of a model.
func (p place) judged(t *testing.T, model string) map[string]float64 {
	t.Helper()
	encoder, err := tiny.CLIP()
	require.NoError(t, err)
	defer encoder.Close()
	panel := &evaluate.Panel{
		Model: load(t, model), CLIP: encoder, Judges: map[string]reward.Model{},
		Request: pipeline.Request{
			Prompts: []string{"two red stars"}, PerPrompt: 2, Guidance: 1, Seed: 1,
		},
	}
	for _, name := range []string{"reward", "judge"} {
		panel.Judges[name], err = alignment.Load(p.out(name), encoder)
		require.NoError(t, err)
	}
	metrics, err := panel.Judge(t.Context(), 0)
	require.NoError(t, err)
	return metrics
}

// A guarded run saves the model that the judge found best, which is the one that as many updates
// make without a guard, and says so. It does the same when it is interrupted and resumed.
func TestGuard(t *testing.T) {
	p := at(t)
	p.learn(t, "reward", 1)
	p.learn(t, "judge", 2)
	require.NoError(t, os.WriteFile(p.out("prompts.txt"), []byte("two red stars\n"), 0o644))
	plain := []string{"-reward", p.out("reward"), "-every", "2"}
	guard := []string{
		"-guard-every", "1", "-guard-judge", p.out("judge"), "-guard-prompts", p.out("prompts.txt"),
		"-guard-guidance", "1", "-guard-floor", "0", "-steps", "2",
	}
	for name, more := range map[string][]string{
		"all": {"-ema", "0.5"}, "pairs": {"-lora-rank", "2"},
	} {
		t.Run(name, func(t *testing.T) {
			args := func(out string) []string {
				return p.args(name+out, append(append(plain, guard...), more...)...)
			}
			_, printed, err := try(t, args("whole")...)
			require.NoError(t, err)
			require.Contains(t, printed, "The tuned model is in ")
			want := left(t, p.out(name+"whole"))
			var found struct{ Guard finetune.Verdict }
			text := files(t, p.out(name+"whole"))["report.json"]
			require.NoError(t, json.Unmarshal([]byte(text), &found))
			best := 0
			for i, m := range found.Guard.Measures {
				require.Equal(t, i, m.Step)
				require.Len(t, m.Metrics, 4, "reward, judge, CLIP score and diversity")
				if m.Metrics["judge"] > found.Guard.Measures[best].Metrics["judge"] {
					best = i
				}
			}
			require.Len(t, found.Guard.Measures, 3)
			require.NotEqual(t, found.Guard.Measures[0].Metrics, found.Guard.Measures[2].Metrics)
			require.Equal(t, best, found.Guard.Kept)
			require.Contains(t, want["report.html"],
				fmt.Sprintf("The guard has kept the network after %d updates", best))
			if best == 0 {
				require.Equal(t, "all", name, "pairs begin at nothing")
				tuned := load(t, p.out(name+"whole/tuned"))
				require.Equal(t, weights.Hash(load(t, p.model).UNet), weights.Hash(tuned.UNet))
			} else {
				short := append(append(plain, more...), "-steps", fmt.Sprint(best))
				_, _, err = try(t, p.args(name+"short", short...)...)
				require.NoError(t, err)
				for file, text := range left(t, p.out(name+"short")) {
					if strings.HasPrefix(file, "tuned/") {
						require.Equal(t, text, want[file], file)
					}
				}
			}

			if name == "all" { // what was judged is what was saved
				require.Equal(t, p.judged(t, p.out(name+"whole/tuned")),
					found.Guard.Measures[best].Metrics)
			}

			// Another run loses its disk when the best model is written, and goes on.
			full := errors.New("disk full")
			file.Before = func(operation, path string) error {
				kept := p.out(fmt.Sprintf("%sagain/best/step-%06d", name, best))
				if strings.HasPrefix(path, kept) {
					return full
				}
				return nil
			}
			defer func() { file.Before = nil }()
			_, _, err = try(t, args("again")...)
			require.ErrorIs(t, err, full)
			file.Before = nil
			_, _, err = try(t, append(args("again"), "-resume")...)
			require.NoError(t, err)
			stopped := p.out(fmt.Sprint(name, "again/stopped-after-", best))
			require.NoError(t, os.RemoveAll(stopped))
			require.Equal(t, want, left(t, p.out(name+"again")))
		})
	}
	for want, more := range map[string][]string{
		"-steps 2 is not a multiple of -guard-every 3": {"-guard-every", "3"},
		"is the reward that is trained on":             {"-guard-judge", p.out("reward")},
		"-guard-judge: alignment: ":                    {"-guard-judge", p.out("gone")},
		"-guard-prompts: dataset: ":                    {"-guard-prompts", p.out("gone")},
		"-guard-every 1 needs -guard-judge":            {"-guard-judge", ""},
		"-guard-floor 2 ":                              {"-guard-floor", "2"},
		"needs -guard-every":                           {"-guard-every", "0"},
	} {
		_, _, err := try(t, p.args("run", append(append(plain, guard...), more...)...)...)
		require.ErrorContains(t, err, want)
		require.NoDirExists(t, p.out("run"))
	}
}
