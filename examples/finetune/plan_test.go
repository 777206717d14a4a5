package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/report"
)

// ready is a session that has read what it is given, and has yet to plan.
func (p place) ready(t *testing.T, args ...string) *session {
	t.Helper()
	s := newSession()
	s.print = new(strings.Builder)
	require.NoError(t, s.parse(p.args("run", args...)))
	require.NoError(t, s.read(t.Context()))
	return s
}

// fitted is the plan with other flags, beside those that the session has; what does not fit is the
// error.
func (s *session) fitted(t *testing.T, change func(s *session)) (finetune.Memory, error) {
	t.Helper()
	was := *s.Tuning
	defer func() { *s.Tuning = was }()
	change(s)
	err := s.plan(t.Context())
	return s.Planned, err
}

// The plan says what each flag costs to the byte, and is made before any number of the UNet is read
// or anything is in the folder.
func TestPlan(t *testing.T) {
	p := at(t)
	s := p.ready(t)
	plan := func(change func(s *session)) finetune.Memory {
		m, err := s.fitted(t, change)
		require.NoError(t, err)
		return m
	}
	plain := plan(func(*session) {})
	// The table has it all.
	require.Contains(t, s.print.(*strings.Builder).String(), report.Size(plain.Total()).String())
	require.NotContains(t, s.print.(*strings.Builder).String(), "moving average")
	weights := int64(0)
	for _, q := range s.model.UNet.Trainable() {
		weights += 4 * int64(q.Value.Size())
	}
	prompts := map[string]bool{}
	for _, sample := range s.all {
		prompts[sample.Prompt] = true
	}
	require.Equal(t, weights, plain.Weights)
	require.Equal(t, 2*weights, plain.Optimizer)
	require.Equal(t, int64(4*9*16*16*4+4*len(prompts)*16*64), plain.Data)
	require.Less(t, len(prompts), 10)
	average := plan(func(s *session) { s.Tuner.EMA = 0.5 })
	require.Equal(t, weights, average.Total()-plain.Total())
	kept := plan(func(s *session) { s.Tuner.Clip = 1 })
	require.Equal(t, 2*weights, kept.Optimizer)
	require.InEpsilon(t, weights, kept.Outputs, 0.02)
	require.Greater(t, kept.Total(), plain.Total(), "gradients are kept at no cost")
	larger := plan(func(s *session) { s.Tuner.OwnBatch, s.Tuner.PretrainBatch = 4, 4 })
	require.InEpsilon(t, 2*plain.Activations, larger.Activations, 0.05)
	pairs := plan(func(s *session) { s.Rank = 4 })
	require.Less(t, pairs.Optimizer, weights/20)
	require.Zero(t, plain.Recomputed)
	require.NoDirExists(t, s.Run.Folder)
	for _, q := range s.model.UNet.Trainable() {
		require.Zero(t, q.Value.Float32s()[0], "the UNet was read")
	}

	// And it is what training then has.
	s.Run.Folder = t.TempDir()
	require.NoError(t, s.encode(t.Context()))
	tuner, _, err := s.Trainer(s.model.UNet, s.model.Schedule, s.data(s.all))
	require.NoError(t, err)
	defer tuner.Close()
	got, err := tuner.Prepare(t.Context())
	require.NoError(t, err)
	require.Equal(t, plain.Plan, got)
	require.Equal(t, plain, tuner.Memory())
}

// What does not fit is computed again, as far as it must; what cannot be made to fit is refused,
// and each way out that the refusal names is one.
func TestMemory(t *testing.T) {
	p := at(t)
	args := []string{
		"-model", "../../testdata/golden/shards", "-batch", "4",
		"-ema", "0.5", "-max-grad-norm", "1",
	}
	s := p.ready(t, args...)
	free, err := s.fitted(t, func(*session) {})
	require.NoError(t, err)
	leastOf := func(change func(s *session)) int64 {
		_, err := s.fitted(t, func(s *session) {
			change(s)
			s.Memory = 1
		})
		var short *finetune.FitError
		require.ErrorAs(t, err, &short)
		return short.Least.Total()
	}
	var short *finetune.FitError
	_, err = s.fitted(t, func(s *session) { s.Memory = 1 })
	require.ErrorAs(t, err, &short)
	least := short.Least
	require.Less(t, least.Total(), free.Total())
	smallest := leastOf(func(s *session) {
		s.Tuner.EMA, s.Tuner.Clip, s.Tuner.OwnBatch, s.Tuner.PretrainBatch, s.Rank = 0, 0, 1, 1, 4
	})
	one := leastOf(func(s *session) { s.Tuner.OwnBatch, s.Tuner.PretrainBatch = 1, 1 })
	unaveraged := leastOf(func(s *session) { s.Tuner.EMA = 0 })
	fit := func(memory int64) finetune.Memory {
		m, err := s.fitted(t, func(s *session) { s.Memory = report.Size(memory) })
		require.NoError(t, err)
		return m
	}
	require.Equal(t, free, fit(free.Total()), "it fits as it is")
	middle := (free.Total() + least.Total()) / 2
	some := fit(middle)
	require.LessOrEqual(t, some.Total(), middle)
	require.Greater(t, some.Total(), middle-middle/20, "memory is left over")
	require.Positive(t, some.Recomputed)
	require.Less(t, some.RecomputedCost, least.RecomputedCost)
	require.LessOrEqual(t, fit(least.Total()).Total(), least.Total())

	_, printed, err := try(t, p.args("run", "-memory", "1MiB")...)
	require.ErrorContains(t, err, "-memory is 1.00MiB")
	require.Empty(t, printed)
	require.NoDirExists(t, p.out("run"))

	refused := func(t *testing.T, memory int64) []string {
		s := p.ready(t, args...)
		s.Memory = report.Size(memory)
		err := s.plan(t.Context())
		takes := report.Size(least.Total()).String()
		require.ErrorContains(t, err, "training takes "+takes+" where")
		_, ways, ok := strings.Cut(err.Error(), "It would fit with ")
		require.True(t, ok, err)
		return regexp.MustCompile(`,? (or )?with `).Split(ways, -1)
	}
	for memory, want := range map[int64][]string{
		unaveraged: {
			"-ema 0", "-batch 2 -pretrain-batch 2", "-lora-rank 4", "-memory ",
		},
		one: {"-batch 1 -pretrain-batch 1", "-lora-rank 4", "-memory "},
		smallest: {
			"-ema 0 -max-grad-norm 0 -batch 1 -pretrain-batch 1 -lora-rank 4", "-memory ",
		},
		1 << 10: {"-memory ", "-memory "},
	} {
		t.Run(want[0], func(t *testing.T) {
			t.Parallel()
			ways := refused(t, memory)
			require.Len(t, ways, len(want), ways)
			for i, way := range ways {
				require.True(t, strings.HasPrefix(way, want[i]), way)
				again := p.ready(t, slices.Concat(args,
					[]string{"-memory", report.Size(memory).String()},
					strings.Fields(strings.ReplaceAll(way, "and ", "")))...)
				if !strings.Contains(way, "-memory") {
					again.Memory = report.Size(memory)
				}
				require.NoError(t, again.plan(t.Context()), way)
			}
		})
	}
}
