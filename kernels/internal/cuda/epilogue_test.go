package cuda_test

import "github.com/kudos-ml/kudos/kernels/internal/cuda"

// none is no epilogue.
var none cuda.Epilogue
