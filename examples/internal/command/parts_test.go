package command

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune/report"
)

// A prompt that is as long as the text encoder reads is whole; of one more word, people are told, once.
func TestWarnLong(t *testing.T) {
	model, err := pipeline.LoadFS(tiny.FS())
	require.NoError(t, err)
	tok := model.Tokenizer
	fits := strings.TrimSpace(strings.Repeat("red ", tok.Length-2))
	require.Len(t, tok.Tokens(fits), tok.Length-2)
	var b strings.Builder
	WarnLong(report.Plain(&b), model, []string{"", fits})
	require.Empty(t, b.String())
	WarnLong(report.Plain(&b), model, []string{fits, fits + " star", fits + " star", fits + " cross"})
	require.Contains(t, b.String(), "Longer prompts: 2,")
	require.Contains(t, b.String(), fits+" star")
	require.Equal(t, 1, strings.Count(b.String(), "\n"))
}
