//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/reward/alignment"
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

// A guarded run saves the model that the judge found best, which is the one that as many updates
// make without a guard, says so, and does the same when it is killed and resumed.
func TestGuard(t *testing.T) {
	p := at(t)
	p.learn(t, "reward", 1)
	p.learn(t, "judge", 2)
	require.NoError(t, os.WriteFile(p.out("prompts.txt"), []byte("two red stars\n"), 0o644))
	plain := []string{"-reward", p.out("reward"), "-every", "2"}
	guard := []string{
		"-guard-every", "1", "-guard-judge", p.out("judge"), "-guard-prompts", p.out("prompts.txt"),
		"-guard-guidance", "2", "-guard-floor", "0",
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
			text := files(t, p.out(name + "whole"))["report.json"]
			require.NoError(t, json.Unmarshal([]byte(text), &found))
			best := 0
			for i, m := range found.Guard.Measures {
				require.Equal(t, i, m.Step)
				require.Len(t, m.Metrics, 4, "reward, judge, CLIP score and diversity")
				if m.Metrics["judge"] > found.Guard.Measures[best].Metrics["judge"] {
					best = i
				}
			}
			require.Len(t, found.Guard.Measures, 4)
			require.NotEqual(t, found.Guard.Measures[0].Metrics, found.Guard.Measures[3].Metrics)
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

			operations := len(commandtest.List(t, p.out(name+"listed"), args("listed")...))
			require.Equal(t, want, left(t, p.out(name+"listed")))
			for _, at := range []int{operations / 2, operations * 3 / 4} {
				out := fmt.Sprint("killed", at)
				moment := commandtest.Moment{Operation: at, Name: out}
				commandtest.Kill(t, moment, args(out)...)
				commandtest.Resume(t, args(out)...)
				require.Equal(t, want, left(t, p.out(name+out)), out)
			}
		})
	}
	for want, more := range map[string][]string{
		"-steps 3 is not a multiple of -guard-every 2": {"-guard-every", "2"},
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
