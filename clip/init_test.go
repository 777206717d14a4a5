package clip

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/internal/golden"
)

// Fresh encoders are what transformers makes of their configs.
func TestInitGolden(t *testing.T) {
	golden.Each(t, "..", func(t *testing.T, c golden.Case) {
		config, err := ReadTextConfig(os.DirFS(filepath.Join(c.Dir, "text_encoder")))
		require.NoError(t, err)
		golden.Init(t, c, "text_encoder", func() any {
			m, err := NewTextModel(config)
			require.NoError(t, err)
			return m
		})
		both, err := readModelConfig(os.DirFS(filepath.Join(c.Dir, "clip")))
		require.NoError(t, err)
		golden.Init(t, c, "clip", func() any {
			m, err := NewModel(both)
			require.NoError(t, err)
			return m
		})
	}, "init.json")
}
