package tokenizer

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/internal/golden"
)

func TestGolden(t *testing.T) {
	golden.Each(t, "../..", func(t *testing.T, c golden.Case) {
		for _, folder := range []string{"tokenizer", "clip"} {
			if !c.HasFile(folder) {
				continue
			}
			tok, err := Load(filepath.Join(c.Dir, folder))
			require.NoError(t, err)
			i := 0
			for ; c.Has(fmt.Sprintf("tokenizer.ids.%d", i)); i++ {
				text := c.Data.Metadata[fmt.Sprintf("tokenizer.text.%d", i)]
				got := make([]float32, 0, 77)
				for _, id := range tok.Encode(text) {
					got = append(got, float32(id))
				}
				want := c.Tensor(t, fmt.Sprintf("tokenizer.ids.%d", i)).Float32s()
				require.Equal(t, want, got, "%q", text)
			}
			require.Positive(t, i, "the case has texts")
		}
	})
}
