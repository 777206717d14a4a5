package kernels

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPrecision(t *testing.T) {
	var zero Precision
	require.Equal(t, Float32, zero)
	for p, want := range map[Precision]struct {
		name string
		size int
	}{Float32: {"float32", 4}, BFloat16: {"bfloat16", 2}, Float16: {"float16", 2}} {
		require.Equal(t, want.name, p.String())
		require.Equal(t, want.size, p.Size(), want.name)
	}
}
