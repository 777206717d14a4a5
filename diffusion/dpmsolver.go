package diffusion

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"sort"
	"strings"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/weights"
)

// DPMSolver samples by DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2), of second order in the
// logarithm of the signal-to-noise ratio, as diffusers' DPMSolverMultistepScheduler does with the
// schedule's config: solver_order 1 or 2, use_karras_sigmas and what else Config lists. 15 to 25
// steps are usual. It is like DDIM in all else.
func DPMSolver(
	ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions,
) Steps {
	return dpmSolver(ctx, net, s, x, o, false)
}

// DPMSolverKarras is DPMSolver with use_karras_sigmas, whatever the schedule's config says.
func DPMSolverKarras(
	ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions,
) Steps {
	return dpmSolver(ctx, net, s, x, o, true)
}

func dpmSolver(
	ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions, karras bool,
) Steps {
	l, err := s.ladder(classDPMSolver, o)
	if err != nil {
		return failed(err)
	}
	if karras {
		l.config.Karras = new(true)
	}
	d, err := l.dpmDescent(o.Steps)
	if err != nil {
		return failed(err)
	}
	n, c := len(d.times), &l.config
	euler := *c.EulerAtFinal || *c.LowerOrderFinal && n < 15 || *c.FinalSigma == "zero"
	moves := make([]move, n)
	for i := range moves {
		from, to := d.level(i), d.level(i+1)
		h := logSNR(to) - logSNR(from)
		m := move{Level: from, scale: 1}
		m.state, m.clean = to.Noise/from.Noise, -to.Signal*math.Expm1(-h)
		if *c.SolverOrder == 2 && i > 0 && !(euler && i == n-1) {
			// The slope of x̂₀ from the step before: h/h₀ times the difference, of which ½ counts,
			// or what the slope's integral has.
			share := m.clean / 2
			if *c.Solver == "heun" {
				share = to.Signal * (math.Expm1(-h)/h + 1)
			}
			slope := share * h / (logSNR(from) - logSNR(d.level(i-1)))
			m.clean, m.past = m.clean+slope, -slope
		}
		moves[i] = m
	}
	return l.says.follow(ctx, net, x, 1, nil, moves, math.Inf(1))
}

// level is level i, with √ᾱ and √(1-ᾱ) as float32 has them.
func (d descent) level(i int) Level {
	sigma := d.sigmas[i]
	signal := 1 / sqrt32(float32(sigma*sigma)+1)
	at := Level{Signal: float64(signal), Noise: float64(float32(sigma * signal))}
	if i < len(d.times) {
		at.Timestep = d.times[i]
	}
	return at
}

// logSNR is λ = ln(√ᾱ/√(1-ᾱ)), +Inf where there is no noise.
func logSNR(l Level) float64 { return math.Log(l.Signal) - math.Log(l.Noise) }

// dpmDescent is DPM-Solver++'s.
func (l ladder) dpmDescent(steps int) (descent, error) {
	c := &l.config
	err := cmp.Or(
		c.refuseThresholding(),
		// diffusers takes the latter for the former.
		only("algorithm_type", *c.Algorithm, "dpmsolver++", "deis"),
		// The last three are midpoint too.
		only("solver_type", *c.Solver, "midpoint", "heun", "logrho", "bh1", "bh2"),
		only("solver_order", *c.SolverOrder, 2, 1),
		c.refuse("use_exponential_sigmas", "use_beta_sigmas", "use_flow_sigmas"),
	)
	// Such a network says more than a Prediction.
	if v := *c.Variance; strings.HasPrefix(v, "learned") {
		err = cmp.Or(err, fmt.Errorf("diffusion: variance_type %s is not supported",
			weights.Printable(v)))
	}
	if !*c.Karras { // which goes before
		err = cmp.Or(err, c.refuse("use_lu_lambdas"))
	}
	if err != nil {
		return descent{}, err
	}
	table := l.table()
	if *c.Karras {
		high, low := float64(table[len(table)-1]), float64(table[0])
		d := karras(table, or(c.SigmaMax, high), or(c.SigmaMin, low), steps)
		for i, t := range d.times {
			if *c.BetaSchedule == "squaredcos_cap_v2" {
				d.times[i] = math.Trunc(t)
			} else {
				d.times[i] = math.RoundToEven(t)
			}
		}
		return d, d.end(table, *c.FinalSigma)
	}

	// Timesteps of more noise than lambda_min_clipped allows are left out.
	last := sort.Search(len(table), func(t int) bool {
		return -math.Log(float64(table[t])) < *c.LambdaMin
	})
	count := steps
	if *c.Spacing != "trailing" {
		count++ // and the least noisy one is not used
	}
	if last < count {
		return descent{}, fmt.Errorf("diffusion: %d sampling steps of DPM-Solver++ take %d "+
			"timesteps, and lambda_min_clipped %g leaves %d", steps, count, *c.LambdaMin, last)
	}
	times, err := l.spread(last, count)
	if err != nil {
		return descent{}, err
	}
	times = times[:min(steps, len(times))]
	for i, t := range times {
		times[i] = math.RoundToEven(t)
	}
	d := descend(table, times)
	return d, d.end(table, *c.FinalSigma)
}
