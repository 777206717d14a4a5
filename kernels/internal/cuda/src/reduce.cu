// Sums of values, of columns and of the middle axis, and rows divided by their norms.
#include "reduce.cuh"

// A Sum is the sum of x[i] over i < n. Each block writes a partial sum.
struct Sum {
  const void *x;
  double *partials;
  u64 n;
  int aligned;  // whether x is a multiple of 16
};

template <class T>
TILE void sum_block(const Sum &p, double *memory) {
  double sum = thread_sum<T>((const T *)p.x, nullptr, p.n,
                             (u64)blockIdx.x * kReduceThreads + threadIdx.x,
                             (u64)gridDim.x * kReduceThreads, p.aligned,
                             [](float x, float) { return (double)x; });
  sum = block_sum<kReduceThreads>(sum, memory);
  if (threadIdx.x == 0) p.partials[blockIdx.x] = sum;
}

KERNEL(sum_f32, Sum, kReduceThreads, 4) {
  SHARED(memory);
  sum_block<float>(p, (double *)memory);
}
KERNEL(sum_bf16, Sum, kReduceThreads, 4) {
  SHARED(memory);
  sum_block<bf16>(p, (double *)memory);
}

// A Total is dst[0] = Σ partials[i] / divisor over i < n. One block does it: n is small.
struct Total {
  float *dst;
  const double *partials;
  u64 n;
  double divisor;
};

KERNEL(total_f32, Total, kReduceThreads, 1) {
  SHARED(memory);
  double sum = thread_sum_of_doubles(p.partials, p.n, threadIdx.x, kReduceThreads);
  sum = block_sum<kReduceThreads>(sum, (double *)memory);
  if (threadIdx.x == 0) *p.dst = (float)(sum / p.divisor);
}

// A Middle is dst[i,k] = scale · Σ_j x[i,j,k] for x [a,b,c]. A block adds up one of parts of the
// rows j of one i, and of these rows one of pieces. If there are several parts, dst is double and
// [a,parts,c], and scale does not count: the same kernel sums it once more.
struct Middle {
  void *dst;
  const void *x;
  double scale;
  int b, c;
  int pieces, parts;
  int part;     // the rows of a part
  int width;    // threads beside one another, each of which has some columns
  int aligned;  // whether a thread has 16 bytes of a row, and not one value
};

// A Piece is what a thread reads of a row at once.
template <class T, int Width>
struct Piece {
  typedef Vector type;
  static TILE void add(double (&sum)[Width], const Vector &v) {
    float x[Width];
    unpack(v, x);
    UNROLL
    for (int i = 0; i < Width; i++) sum[i] += x[i];
  }
};
template <class T>
struct Piece<T, 1> {
  typedef T type;
  static TILE void add(double (&sum)[1], const T &v) { sum[0] += get(&v); }
};
template <>
struct Piece<double, 1> {
  typedef double type;
  static TILE void add(double (&sum)[1], const double &v) { sum[0] += v; }
};

// middle has threads in rows of p.width. Each adds up every height-th row of its block, four at a
// time so that their loads overlap. The sums of one column are then added up in shared memory,
// where neighbours have neighbouring words.
template <class T, int Width>
TILE void middle(const Middle &p, double *memory) {
  constexpr int Ahead = 4;
  typedef Piece<T, Width> P;
  const int threads = blockDim.x, height = threads / p.width;
  const int tx = threadIdx.x % p.width, ty = threadIdx.x / p.width;
  const int piece = blockIdx.x % p.pieces, part = blockIdx.x / p.pieces % p.parts;
  const u64 i = blockIdx.x / p.pieces / p.parts;
  const u64 column = ((u64)piece * p.width + tx) * Width;
  const bool inside = column < (u64)p.c;
  double sum[Width] = {};
  if (inside) {
    const T *x = (const T *)p.x + i * p.b * p.c + column;
    const u64 last = min((u64)(part + 1) * p.part, (u64)p.b);
    for (u64 j = (u64)part * p.part + ty; j < last; j += Ahead * height) {
      typename P::type v[Ahead] = {};
      UNROLL
      for (int k = 0; k < Ahead; k++)
        if (j + k * height < last) v[k] = *(const typename P::type *)(x + (j + k * height) * p.c);
      UNROLL
      for (int k = 0; k < Ahead; k++) P::add(sum, v[k]);
    }
  }
  double *sums = memory + threadIdx.x;
  UNROLL
  for (int w = 0; w < Width; w++) sums[w * threads] = sum[w];
  int half = 1;
  while (2 * half < height) half *= 2;
  for (; half > 0; half /= 2) {
    sync_block();
    if (ty < half && ty + half < height) {
      UNROLL
      for (int w = 0; w < Width; w++) {
        sum[w] += sums[w * threads + half * p.width];
        sums[w * threads] = sum[w];
      }
    }
  }
  if (ty > 0 || !inside) return;
  const u64 at = (i * p.parts + part) * p.c + column;
  UNROLL
  for (int w = 0; w < Width; w++) {
    if (p.parts > 1)
      ((double *)p.dst)[at + w] = sum[w];
    else
      ((float *)p.dst)[at + w] = (float)(p.scale * sum[w]);
  }
}

KERNEL(middle_f32, Middle, kReduceThreads, 4) {
  SHARED(memory);
  if (p.aligned)
    middle<float, 4>(p, (double *)memory);
  else
    middle<float, 1>(p, (double *)memory);
}
KERNEL(middle_bf16, Middle, kReduceThreads, 4) {
  SHARED(memory);
  if (p.aligned)
    middle<bf16, 8>(p, (double *)memory);
  else
    middle<bf16, 1>(p, (double *)memory);
}
KERNEL(middle_f64, Middle, kReduceThreads, 4) {
  SHARED(memory);
  middle<double, 1>(p, (double *)memory);
}

// A Norms is rows of x [rows,width] and their Euclidean norms. dy is for the gradient.
struct Norms {
  float *dst;
  const float *x, *dy;
  int width;
};

// row_sum is the sum of f(j) over j < width, in all threads of the block.
template <class F>
TILE double row_sum(int width, double *memory, F f) {
  double sum = 0;
  for (int j = threadIdx.x; j < width; j += kReduceThreads) sum += f(j);
  return block_sum<kReduceThreads>(sum, memory);
}

// inverse_norm is 1 over the norm of a row, and 1 for a row of zeros.
TILE double inverse_norm(const float *x, int width, double *memory) {
  const double square = row_sum(width, memory, [&](int j) { return (double)x[j] * x[j]; });
  return square == 0 ? 1 : 1 / sqrt(square);
}

// A block has a row. There are few rows, and none is long.
KERNEL(l2_normalize_f32, Norms, kReduceThreads, 4) {
  SHARED(memory);
  const float *x = p.x + (u64)blockIdx.x * p.width;
  float *y = p.dst + (u64)blockIdx.x * p.width;
  const double inverse = inverse_norm(x, p.width, (double *)memory);
  for (int j = threadIdx.x; j < p.width; j += kReduceThreads) y[j] = (float)(x[j] * inverse);
}

KERNEL(l2_normalize_grad_f32, Norms, kReduceThreads, 4) {
  SHARED(memory);
  const u64 row = (u64)blockIdx.x * p.width;
  const float *x = p.x + row, *dy = p.dy + row;
  float *dx = p.dst + row;
  const double inverse = inverse_norm(x, p.width, (double *)memory);
  const double dot = row_sum(p.width, (double *)memory,
                             [&](int j) { return x[j] * inverse * dy[j]; });
  for (int j = threadIdx.x; j < p.width; j += kReduceThreads)
    dx[j] = (float)((dy[j] - x[j] * inverse * dot) * inverse);
}
