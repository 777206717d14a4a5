package unet

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/internal/golden"
)

// A fresh network is what diffusers makes of its config.
func TestInitGolden(t *testing.T) {
	golden.Each(t, "../..", func(t *testing.T, c golden.Case) {
		config, err := ReadConfig(os.DirFS(filepath.Join(c.Dir, "unet")))
		require.NoError(t, err)
		golden.Init(t, c, "unet", func() any {
			u, err := New(config)
			require.NoError(t, err)
			return u
		})
	}, "init.json")
}
