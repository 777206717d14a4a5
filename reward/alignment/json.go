package alignment

import (
	"encoding/json"
	"math"
)

// MarshalJSON has null for what is not a number: the AUCs where all labels are the same.
func (c Comparison) MarshalJSON() ([]byte, error) {
	known := func(v float64) *float64 {
		if math.IsNaN(v) {
			return nil
		}
		return &v
	}
	return json.Marshal(map[string]any{
		"n": c.N, "accuracy": c.Accuracy.Accuracy,
		"auc": known(c.AUC), "clip_auc": known(c.CLIPAUC),
	})
}
