package diffusion

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"sort"
	"strings"

	"gorgonia.org/tensor"
)

// DPMSolver samples by DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2), of second order in the logarithm of the signal-to-noise ratio,
// as diffusers' DPMSolverMultistepScheduler does with the schedule's config: solver_order 1 or 2, use_karras_sigmas and what else
// Config lists. 15 to 25 steps are usual. It is like DDIM in all else.
func DPMSolver(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, steps int) iter.Seq2[Step, error] {
	l, err := s.dpmLevels(steps)
	if err != nil {
		return failed(err)
	}
	n, c := len(l.times), &s.Config
	euler := or(c.EulerAtFinal, false) || or(c.LowerOrderFinal, true) && n < 15 || or(c.FinalSigma, "zero") == "zero"
	moves := make([]move, n)
	for i := range moves {
		m := l.level(i)
		to := l.level(i + 1)
		h := to.logSNR() - m.logSNR()
		m.state = to.sigma / m.sigma
		m.clean = -to.signal * math.Expm1(-h)
		if or(c.SolverOrder, 2) == 2 && i > 0 && !(euler && i == n-1) {
			// The slope of x̂₀ from the step before: h/h₀ times the difference, of which ½ counts, or what the slope's integral has.
			share := m.clean / 2
			if or(c.Solver, "midpoint") == "heun" {
				share = to.signal * (math.Expm1(-h)/h + 1)
			}
			slope := share * h / (m.logSNR() - l.level(i-1).logSNR())
			m.clean, m.past = m.clean+slope, -slope
		}
		moves[i] = m
	}
	return s.follow(ctx, net, x, 1, nil, moves, math.Inf(1))
}

// level is a move at level i, with √ᾱ and √(1-ᾱ) as float32 has them.
func (l levels) level(i int) move {
	sigma := l.sigmas[i]
	signal := 1 / sqrt32(float32(sigma*sigma)+1)
	m := move{scale: 1, signal: float64(signal), sigma: float64(float32(sigma * signal))}
	if i < len(l.times) {
		m.timestep = l.times[i]
	}
	return m
}

// logSNR is λ = ln(√ᾱ/√(1-ᾱ)), +Inf where there is no noise.
func (m move) logSNR() float64 { return math.Log(m.signal) - math.Log(m.sigma) }

// dpmLevels are the noise levels of DPM-Solver++.
func (s *Schedule) dpmLevels(steps int) (levels, error) {
	c := &s.Config
	err := cmp.Or(
		s.checkSteps(steps), c.refuseThresholding(), only("algorithm_type", c.Algorithm, "dpmsolver++", "deis"), // which diffusers takes for the former
		only("solver_type", c.Solver, "midpoint", "heun", "logrho", "bh1", "bh2"), only("solver_order", c.SolverOrder, 2, 1), // the last three are midpoint too
		c.refuse("use_exponential_sigmas", "use_beta_sigmas", "use_flow_sigmas"),
	)
	if v := or(c.Variance, ""); strings.HasPrefix(v, "learned") && !s.Velocity && !s.Clean { // the network predicts more than ε
		err = cmp.Or(err, fmt.Errorf("diffusion: variance_type %s is not supported", v))
	}
	if !or(c.Karras, false) { // which goes before
		err = cmp.Or(err, c.refuse("use_lu_lambdas"))
	}
	if err != nil {
		return levels{}, err
	}
	table := s.table()
	if or(c.Karras, false) {
		l := karras(table, or(c.SigmaMax, float64(table[len(table)-1])), or(c.SigmaMin, float64(table[0])), steps)
		for i, t := range l.times {
			if or(c.BetaSchedule, "linear") == "squaredcos_cap_v2" {
				l.times[i] = math.Trunc(t)
			} else {
				l.times[i] = math.RoundToEven(t)
			}
		}
		return l, l.end(table, c.FinalSigma)
	}

	// Timesteps of more noise than lambda_min_clipped allows are left out.
	least := or(c.LambdaMin, math.Inf(-1))
	last := sort.Search(len(table), func(t int) bool { return -math.Log(float64(table[t])) < least })
	spacing, count := or(c.Spacing, "linspace"), steps
	if spacing != "trailing" {
		count++ // and the least noisy one is not used
	}
	if last < count {
		return levels{}, fmt.Errorf("diffusion: %d sampling steps of DPM-Solver++ take %d timesteps, and lambda_min_clipped %g leaves %d", steps, count, least, last)
	}
	times, err := s.spread(last, count, spacing)
	if err != nil {
		return levels{}, err
	}
	times = times[:min(steps, len(times))]
	for i, t := range times {
		times[i] = math.RoundToEven(t)
	}
	l := levelsAt(table, times)
	return l, l.end(table, c.FinalSigma)
}
