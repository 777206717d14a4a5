package alignment_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/reward/alignment"
)

func TestAUCThatIsNoNumber(t *testing.T) {
	accuracy := alignment.Accuracy{N: 3, Accuracy: 1, AUC: math.NaN()}
	text, err := json.Marshal(map[string]alignment.Comparison{
		"seen": {Accuracy: accuracy, CLIPAUC: math.NaN()},
	})
	require.NoError(t, err)
	require.JSONEq(t, `{"seen":{"n":3,"accuracy":1,"auc":null,"clip_auc":null}}`, string(text))
	accuracy.AUC = 0.75
	text, err = json.Marshal(alignment.Comparison{Accuracy: accuracy, CLIPAUC: 0.5})
	require.NoError(t, err)
	require.JSONEq(t, `{"n":3,"accuracy":1,"auc":0.75,"clip_auc":0.5}`, string(text))
}
