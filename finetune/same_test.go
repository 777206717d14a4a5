package finetune

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSameRun(t *testing.T) {
	type any = map[string]interface{}
	dir := t.TempDir()
	compare := func(config map[string]interface{}, may ...string) error {
		return (&Run{Folder: dir, Config: config, MayChange: may}).compare(true)
	}
	write := func(text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o644))
	}
	require.NoError(t, compare(any{"seed": 1}), "there is no run")
	write(`{"seed": 1, "lr": 0.1, "steps": 100, "adam": {"beta": [0.9, 0.999], "eps": 1e-8},
		"lora": null, "files": []}`)
	config := func() any {
		return any{
			"seed": 1, "lr": 0.1, "steps": 100,
			"adam": any{"beta": []float64{0.9, 0.999}, "eps": 1e-8},
			"lora": nil, "files": []string{},
		}
	}
	require.NoError(t, compare(config()))
	for _, c := range []struct {
		change func(any)
		may    []string
		want   string // differences, between semicolons
	}{
		{func(c any) { c["seed"] = 2 }, nil, "seed was 1 and is 2"},
		{func(c any) { c["seed"] = 2 }, []string{"see", "seed.x", "eed"}, "seed was 1 and is 2"},
		{func(c any) { c["seed"] = 2 }, []string{"seed"}, ""},
		{func(c any) { c["seed"] = "1" }, nil, `seed was 1 and is "1"`},
		{func(c any) { delete(c, "seed") }, nil, "seed was 1 and is not there"},
		{func(c any) { delete(c, "lora") }, nil, "lora was null and is not there"},
		{func(c any) { c["clip"] = 0 }, nil, "clip was not there and is 0"},
		{func(c any) { c["clip"] = 0 }, []string{"clip"}, ""},
		{func(c any) { c["lr"] = 0.1000000000000001 }, nil, "lr was 0.1 and is 0.1000000000000001"},
		{func(c any) {
			c["adam"].(any)["beta"] = []float64{0.9, 0.99}
		}, nil, "adam.beta.1 was 0.999 and is 0.99"},
		{func(c any) {
			c["adam"].(any)["beta"] = []float64{0.9}
		}, nil, "adam.beta.1 was 0.999 and is not there"},
		{func(c any) { c["adam"].(any)["beta"] = []float64{0.8, 1} }, []string{"adam.beta"}, ""},
		{func(c any) {
			c["adam"].(any)["eps"] = 0
		}, []string{"adam.beta"}, "adam.eps was 1e-8 and is 0"},
		{func(c any) { c["adam"] = 1 }, []string{"adam"}, ""},
		{func(c any) {
			c["files"] = []string{"a<b"}
		}, nil, `files was [] and is not there;files.0 was not there and is "a<b"`},
		{func(c any) { c["lora"] = any{"rank": 4}; c["seed"] = 3 }, nil,
			"lora was null and is not there;lora.rank was not there and is 4;seed was 1 and is 3"},
		{func(c any) {
			c["seed"] = strings.Repeat("é", 200)
		}, nil, `seed was 1 and is "` + strings.Repeat("é", 99) + "…"},
	} {
		now := config()
		c.change(now)
		err := compare(now, c.may...)
		if c.want == "" {
			require.NoError(t, err)
			continue
		}
		var different *DifferentRunError
		require.ErrorAs(t, err, &different)
		require.Equal(t, strings.Split(c.want, ";"), different.Differences)
		require.ErrorContains(t, err, dir)
		for _, d := range different.Differences {
			require.ErrorContains(t, err, d)
		}
	}
	write(`{"seed": `)
	require.ErrorContains(t, compare(config()), "config.json")
	require.ErrorContains(t, compare(any{"x": make(chan int)}), "chan int")
}
