package finetune

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/kudos-ml/kudos/finetune/report"
)

// A Measure is what a Guard's Judge said of the network after so many steps.
type Measure struct {
	Step    int                `json:"step"`
	Metrics map[string]float64 `json:"metrics"`
}

// A Verdict is what a Guard has found.
type Verdict struct {
	By       string    `json:"by"`                // the metric whose best is kept
	Kept     int       `json:"kept"`              // steps that the best network has seen
	Stopped  string    `json:"stopped,omitempty"` // why training was ended; "" if it was not
	Measures []Measure `json:"measures"`          // in order, the first before the first step
}

// Verdict is what is known after the last measurement.
func (g *Guard) Verdict() Verdict {
	v := Verdict{By: cmp.Or(g.Best, g.HeldOut), Measures: slices.Clone(g.measures)}
	if n := len(g.measures); n > 0 {
		v.Kept = g.best(g.measures).Step
		v.Stopped = cmp.Or(g.crossed(g.measures[n-1], g.measures[0]), g.parted())
	}
	return v
}

// crossed says which limit a measure is beyond; first is that before the first step.
func (g *Guard) crossed(m, first Measure) string {
	for _, name := range names(g.Floors) {
		if v := m.Metrics[name]; !(v >= g.Floors[name]) {
			return fmt.Sprintf("%s is %.4g, below %.4g", name, v, g.Floors[name])
		}
	}
	for _, name := range names(g.Ceilings) {
		if v := m.Metrics[name]; !(v <= g.Ceilings[name]) {
			return fmt.Sprintf("%s is %.4g, above %.4g", name, v, g.Ceilings[name])
		}
	}
	for _, name := range names(g.Shares) {
		if v, was := m.Metrics[name], first.Metrics[name]; !(v >= g.Shares[name]*was) {
			return fmt.Sprintf("%s is %.4g, below %.4g of the %.4g at first", name, v,
				g.Shares[name], was)
		}
	}
	return ""
}

// parted says how the reward and the judge have parted, if they have.
func (g *Guard) parted() string {
	since := len(g.measures) - cmp.Or(g.Patience, 3)
	peak := 0
	for i, m := range g.measures {
		if m.Metrics[g.HeldOut] > g.measures[peak].Metrics[g.HeldOut] {
			peak = i
		}
	}
	if g.Reward == "" || since < 0 {
		return ""
	}
	high, last := g.measures[peak], g.measures[len(g.measures)-1].Metrics
	for _, m := range g.measures[since:] {
		apart := m.Metrics[g.Reward] > high.Metrics[g.Reward] &&
			m.Metrics[g.HeldOut] < high.Metrics[g.HeldOut]-g.Margin
		if !apart {
			return ""
		}
	}
	return fmt.Sprintf("since %d updates %s has risen from %.4g to %.4g and %s has fallen from "+
		"%.4g to %.4g", high.Step, g.Reward, high.Metrics[g.Reward], last[g.Reward], g.HeldOut,
		high.Metrics[g.HeldOut], last[g.HeldOut])
}

// best is the one to keep of measures, of which the first is within all limits.
func (g *Guard) best(measures []Measure) Measure {
	by, best := cmp.Or(g.Best, g.HeldOut), measures[0]
	for _, m := range measures {
		if m.Metrics[by] > best.Metrics[by] && g.crossed(m, measures[0]) == "" {
			best = m
		}
	}
	return best
}

// said is the verdict in sentences, for a page.
func (v Verdict) said() string {
	text := fmt.Sprintf(" The guard has kept the network after %d updates, the best by %s.",
		v.Kept, v.By)
	if v.Stopped != "" {
		last := v.Measures[len(v.Measures)-1].Step
		text = fmt.Sprintf(" The guard stopped it after %d updates: %s.", last, v.Stopped) + text
	}
	return text
}

// charts are curves of all metrics: those of pair, which part where a reward is hacked, together.
func (v Verdict) charts(pair ...string) (charts []report.Block) {
	curve := func(name string) (s report.Series) {
		s.Name = name
		for _, m := range v.Measures {
			if y, there := m.Metrics[name]; there {
				s.X, s.Y = append(s.X, float64(m.Step)), append(s.Y, y)
			}
		}
		return s
	}
	together := report.Chart{
		Title: "Guard", Note: "Of the network after so many updates. A reward that rises while a " +
			"judge that training does not see falls is hacked.", X: "updates",
	}
	all := map[string]float64{}
	for _, m := range v.Measures {
		maps.Copy(all, m.Metrics)
	}
	for _, name := range names(all) {
		if slices.Contains(pair, name) {
			together.Series = append(together.Series, curve(name))
			continue
		}
		charts = append(charts, report.Chart{
			Title: "Guard: " + name, X: "updates", Series: []report.Series{curve(name)},
		})
	}
	if len(together.Series) > 0 {
		charts = slices.Insert[[]report.Block, report.Block](charts, 0, together)
	}
	return charts
}
