package cases

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/kernels"
)

// What the graphs say is what was counted by hand, layer by layer: of Stable Diffusion 1.5 an
// evaluation takes 803.3 GFLOP for products (convolutions 443.9, layers 233.3, attention 126.1)
// and an update 2,470, ViT-L/14 162.
func TestArithmetic(t *testing.T) {
	one, err := sd15.evaluation()
	require.NoError(t, err)
	require.InEpsilon(t, (443.9+233.3+126.1)*1e9, one, 2e-4)
	all, err := sd15.training(false)
	require.NoError(t, err)
	require.InEpsilon(t, 2470e9, all, 2e-4)
	// A gradient by activations takes as much as the evaluation, attention's 2.5 times as much, but
	// there is none before the first pair.
	pairs, err := sd15.training(true)
	require.NoError(t, err)
	require.InEpsilon(t, 2*803.3e9+1.5*126.1e9, pairs, 2e-2)
	require.InEpsilon(t, 162e9, features(1).Flops, 1e-2)
	require.InEpsilon(t, 8*features(1).Flops, features(8).Flops, 1e-12)
}

// The operations are those of the networks, each once.
func TestOperations(t *testing.T) {
	seen := map[string]Case{}
	for _, c := range Operations(2) {
		require.NotContains(t, seen, c.Name)
		require.True(t, c.Flops > 0 || c.Bytes(kernels.Float32) > 0, c.Name)
		seen[c.Name] = c
	}
	for _, name := range []string{
		"linear/320→2560/tokens=4096/batch=2/input", "linear/768→640/tokens=77/batch=2/weight",
		"linear/1280→320/tokens=1/batch=2/forward",
		"conv/4→320/side=64/kernel=3/stride=1/batch=2/forward",
		"conv/640→640/side=64/kernel=3/stride=1/batch=2/weight",
		"conv/320→320/side=64/kernel=3/stride=2/batch=2/input",
		"attention/d=40/queries=4096/keys=77/batch=2/forward+backward",
		"group norm + SiLU/channels=960/tokens=4096/batch=2/backward",
		"group norm/channels=1280/tokens=64/batch=2/forward",
		"layer norm/channels=640/tokens=1024/batch=2/forward",
		"GEGLU/channels=1280/tokens=4096/batch=2/forward",
		"miniature/attention/d=32/queries=16/keys=16/batch=2/forward",
		"miniature/conv/32→32/side=16/kernel=3/stride=1/batch=2/weight",
		"softmax cross-entropy/rows=8192/columns=4096/backward",
	} {
		require.Contains(t, seen, name)
	}
	require.Equal(t, 2*2*4096*320*2560., seen["linear/320→2560/tokens=4096/batch=2/input"].Flops)
	down := seen["conv/320→320/side=64/kernel=3/stride=2/batch=2/input"]
	require.Equal(t, 2*2*32*32*320*9*320., down.Flops)
	cross := seen["attention/d=40/queries=4096/keys=77/batch=2/forward"]
	require.Equal(t, 2*4*4096*77*320., cross.Flops)
	large := 0
	for name := range seen {
		if !strings.HasPrefix(name, "miniature") {
			large++
		}
	}
	require.Greater(t, large, 200)
}
