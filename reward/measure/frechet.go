package measure

import (
	"fmt"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// A Gaussian is a mean and a covariance.
type Gaussian struct {
	Mean       []float64 // [D]
	Covariance []float64 // [D,D], row after row; symmetric
}

// matrix is the covariance as linear algebra has it.
func (g Gaussian) matrix() (*mat.SymDense, error) {
	if d := len(g.Mean); len(g.Covariance) != d*d {
		return nil, fmt.Errorf(
			"measure: a Gaussian of %d dimensions has a covariance of %d numbers",
			d, len(g.Covariance))
	}
	return mat.NewSymDense(len(g.Mean), g.Covariance), nil
}

// Fit returns the Gaussian of features [N][D]: their mean and unbiased covariance (division by
// N−1). N must be at least 2 and all values finite. With N ≤ D the covariance is singular, which
// Frechet can take, but its value depends strongly on N: compare only distances from equally many
// features.
func Fit(features [][]float64) (Gaussian, error) {
	n := len(features)
	if n < 2 {
		return Gaussian{}, fmt.Errorf("measure: a Gaussian needs at least 2 features, not %d", n)
	}
	d := len(features[0])
	if d == 0 {
		return Gaussian{}, fmt.Errorf("measure: features have no values")
	}
	x := mat.NewDense(n, d, nil)
	g := Gaussian{Mean: make([]float64, d), Covariance: make([]float64, d*d)}
	for i, f := range features {
		if len(f) != d {
			return Gaussian{}, fmt.Errorf("measure: feature %d has %d values, not %d", i, len(f), d)
		}
		for j, v := range f {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return Gaussian{}, fmt.Errorf("measure: feature %d holds %v", i, v)
			}
			x.Set(i, j, v)
			g.Mean[j] += v / float64(n)
		}
	}
	covariance := mat.NewSymDense(d, g.Covariance)
	stat.CovarianceMatrix(covariance, x, nil)
	for i := range d {
		for j := range i {
			g.Covariance[i*d+j] = covariance.At(i, j) // it fills the upper half alone
		}
	}
	return g, nil
}

// Frechet returns the squared Fréchet distance of two Gaussians (Dowson and Landau 1982; the FID of
// Heusel et al. 2017 is this distance of Inception features),
//
//	‖μa − μb‖² + tr(A + B − 2 (√A B √A)^½).
//
// The square roots come from symmetric eigendecompositions, where eigenvalues that rounding made
// negative are 0; so singular covariances need no ridge, and the result is never negative.
func Frechet(a, b Gaussian) (float64, error) {
	if len(a.Mean) != len(b.Mean) {
		return 0, fmt.Errorf("measure: Fréchet distance of %d and %d dimensions",
			len(a.Mean), len(b.Mean))
	}
	var d float64
	for i, m := range a.Mean {
		d += (m - b.Mean[i]) * (m - b.Mean[i])
	}
	covarianceA, err := a.matrix()
	if err != nil {
		return 0, err
	}
	covarianceB, err := b.matrix()
	if err != nil {
		return 0, err
	}
	root, err := squareRoot(covarianceA)
	if err != nil {
		return 0, err
	}
	var product mat.Dense
	product.Product(root, covarianceB, root)
	values, err := eigenvalues(symmetric(&product))
	if err != nil {
		return 0, err
	}
	d += mat.Trace(covarianceA) + mat.Trace(covarianceB)
	for _, v := range values {
		d -= 2 * math.Sqrt(max(v, 0))
	}
	return max(d, 0), nil
}

// FrechetFeatures is the Fréchet distance of the Gaussians fitted to two sets of features.
func FrechetFeatures(a, b [][]float64) (float64, error) {
	ga, err := Fit(a)
	if err != nil {
		return 0, err
	}
	gb, err := Fit(b)
	if err != nil {
		return 0, err
	}
	return Frechet(ga, gb)
}

// squareRoot returns the positive square root of a positive semidefinite matrix.
func squareRoot(a *mat.SymDense) (*mat.Dense, error) {
	var e mat.EigenSym
	if !e.Factorize(a, true) {
		return nil, fmt.Errorf("measure: a covariance of %d dimensions has no eigenvalues",
			a.SymmetricDim())
	}
	values := e.Values(nil)
	for i, v := range values {
		values[i] = math.Sqrt(max(v, 0))
	}
	var q, root mat.Dense
	e.VectorsTo(&q)
	root.Product(&q, mat.NewDiagDense(len(values), values), q.T())
	return &root, nil
}

func eigenvalues(a *mat.SymDense) ([]float64, error) {
	var e mat.EigenSym
	if !e.Factorize(a, false) {
		return nil, fmt.Errorf("measure: a covariance product of %d dimensions has no eigenvalues",
			a.SymmetricDim())
	}
	return e.Values(nil), nil
}

// symmetric returns (A + Aᵀ)/2.
func symmetric(a *mat.Dense) *mat.SymDense {
	n, _ := a.Dims()
	s := mat.NewSymDense(n, nil)
	for i := range n {
		for j := i; j < n; j++ {
			s.SetSym(i, j, (a.At(i, j)+a.At(j, i))/2)
		}
	}
	return s
}

// A Distance is a distance of two sets of features with its 95 % interval.
type Distance struct {
	Distance float64 `json:"distance"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	N        int     `json:"n"` // features of the first set
}

// parts is how many times a jackknife leaves something out.
const parts = 20

// FrechetInterval is FrechetFeatures with its 95 % interval: of the distances that as many
// pictures, made anew, would have. It is d ± t·s with the delete-a-group jackknife's
//
//	s² = (G−1)/G · Σ (d_g − mean d_g)²
//
// (Shao and Tu 1995, §2.3), where d_g leaves out one of G = 20 parts of the features, or as many as
// there are clusters, and t is Student's for G−1 degrees of freedom. clusterA[i] names the cluster
// of a[i], usually its prompt, and clusterB[i] that of b[i]; features of one name, in either set,
// are left out together. nil makes each feature a cluster, which those of a and b at one place
// share. Which clusters make a part is decided by seed. With fewer than two clusters there is no
// telling, and the interval ends at +Inf.
//
// A distance of few features is too large on average, by the same for equally many; the interval
// does not change that, so only distances of equally many features can be compared by it.
func FrechetInterval(a, b [][]float64, clusterA, clusterB []string, seed uint64) (Distance, error) {
	if clusterA != nil && len(clusterA) != len(a) || clusterB != nil && len(clusterB) != len(b) {
		return Distance{}, fmt.Errorf("measure: Fréchet distance of %d and %d features in "+
			"clusters of %d and %d", len(a), len(b), len(clusterA), len(clusterB))
	}
	d := Distance{High: math.Inf(1), N: len(a)}
	var err error
	if d.Distance, err = FrechetFeatures(a, b); err != nil {
		return d, err
	}
	part := map[string]int{}
	var names []string
	name := func(cluster []string, i int) string {
		if cluster == nil {
			return fmt.Sprint("\x00", i)
		}
		return cluster[i]
	}
	for _, set := range []struct {
		n       int
		cluster []string
	}{{len(a), clusterA}, {len(b), clusterB}} {
		for i := range set.n {
			if k := name(set.cluster, i); part[k] == 0 {
				part[k], names = 1, append(names, k)
			}
		}
	}
	g := min(parts, len(names))
	if g < 2 {
		return d, nil
	}
	for i, k := range rand.New(rand.NewPCG(seed, 0x6a61636b)).Perm(len(names)) {
		part[names[k]] = i % g
	}
	without := func(features [][]float64, cluster []string, left int) (rest [][]float64) {
		for i, f := range features {
			if part[name(cluster, i)] != left {
				rest = append(rest, f)
			}
		}
		return rest
	}
	values := make([]float64, g)
	for left := range values {
		if values[left], err = FrechetFeatures(without(a, clusterA, left), without(b, clusterB,
			left)); err != nil {
			return d, fmt.Errorf("%w (with part %d of %d left out)", err, left, g)
		}
	}
	variance := stat.Variance(values, nil) * float64(g-1) * float64(g-1) / float64(g)
	half := distuv.StudentsT{Sigma: 1, Nu: float64(g - 1)}.Quantile(0.975) * math.Sqrt(variance)
	d.Low, d.High = max(0, d.Distance-half), d.Distance+half
	return d, nil
}
