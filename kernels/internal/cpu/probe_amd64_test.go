//go:build !purego

package cpu

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Families and models are those that makers give.
func TestSignature(t *testing.T) {
	for version, want := range map[uint32][2]uint32{
		0x00a10f11: {25, 17}, // Zen 4
		0x00b00f21: {26, 2},  // Zen 5
		0x000806f8: {6, 143}, // Sapphire Rapids
	} {
		family, model := signature(version)
		require.Equal(t, want, [2]uint32{family, model}, "%#x", version)
	}
}
