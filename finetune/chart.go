package finetune

import "github.com/kudos-ml/kudos/finetune/report"

// TermsChart shows the terms of the loss over the steps of a run, such as ReadSteps gives. Terms
// that no step has are left out.
func TermsChart(title string, steps []Step, terms ...string) report.Chart {
	chart := report.Chart{Title: title, X: "update", Y: "loss"}
	for _, term := range terms {
		s := report.Series{Name: term + " term"}
		for _, step := range steps {
			if v, ok := step.Terms[term]; ok {
				s.X, s.Y = append(s.X, float64(step.Index)), append(s.Y, v)
			}
		}
		if len(s.X) > 0 {
			chart.Series = append(chart.Series, s)
		}
	}
	return chart
}
