// Rows of a table that numbers name, the gradient of the table, and embeddings of timesteps.
#include "index.cuh"

constexpr int kTableThreads = 256;

// A Table is the copying of rows of src [.., columns] to rows of dst, or the adding up. Row i of
// one of them belongs to row index[i] of the other. Where each sample i has rows of its own, it is
// a row of these.
struct Table {
  void *dst;
  const void *src;
  const float *index;
  u64 n;     // how many values index has
  int rows;  // how many rows a value of index may name
  int own;   // whether each sample has rows of its own
  int columns;
  int aligned;  // whether dst, src and all their rows are multiples of 16
};

// load_values and store_values move W values, which begin at a multiple of 16 bytes unless W is 1.
template <int W, class T>
TILE void load_values(const T *from, float (&x)[W]) {
  if constexpr (W == 1) {
    x[0] = get(from);
  } else {
    constexpr int Width = 16 / sizeof(T);
    UNROLL
    for (int i = 0; i < W; i += Width) {
      float part[Width];
      unpack(*(const Vector *)(from + i), part);
      UNROLL
      for (int k = 0; k < Width; k++) x[i + k] = part[k];
    }
  }
}
template <int W, class T>
TILE void store_values(T *to, const float (&x)[W]) {
  if constexpr (W == 1) {
    put(to, x[0]);
  } else {
    constexpr int Width = 16 / sizeof(T);
    UNROLL
    for (int i = 0; i < W; i += Width) {
      float part[Width];
      UNROLL
      for (int k = 0; k < Width; k++) part[k] = x[i + k];
      *(Vector *)(to + i) = packed(part);
    }
  }
}

// gather_row copies a row with a block of threads. A row that does not exist becomes NaN.
template <int W, class S, class D>
TILE void gather_row(const Table &p) {
  const u64 i = blockIdx.x;
  const int named = index_of(p.index[i], p.rows);
  const S *src = (const S *)p.src + ((p.own ? i * p.rows : 0) + max(named, 0)) * p.columns;
  D *dst = (D *)p.dst + i * p.columns;
  for (int j = threadIdx.x * W; j < p.columns; j += blockDim.x * W) {
    float x[W];
    UNROLL
    for (int k = 0; k < W; k++) x[k] = not_a_number();
    if (named >= 0) load_values<W>(src + j, x);
    store_values<W>(dst + j, x);
  }
}

KERNEL(gather_f32, Table, kTableThreads, 4) {
  if (p.aligned)
    gather_row<4, float, float>(p);
  else
    gather_row<1, float, float>(p);
}
KERNEL(gather_bf16, Table, kTableThreads, 4) {
  if (p.aligned)
    gather_row<8, bf16, bf16>(p);
  else
    gather_row<1, bf16, bf16>(p);
}
KERNEL(gather_f32_bf16, Table, kTableThreads, 4) {
  if (p.aligned)
    gather_row<8, float, bf16>(p);
  else
    gather_row<1, float, bf16>(p);
}

// spread_row writes one row of dst, where every sample has rows of its own: the row of src that
// belongs there, or zeros.
template <int W, class T>
TILE void spread_row(const Table &p) {
  const u64 i = blockIdx.x / p.rows;
  const bool named = index_of(p.index[i], p.rows) == (int)(blockIdx.x % p.rows);
  const T *src = (const T *)p.src + i * p.columns;
  T *dst = (T *)p.dst + (u64)blockIdx.x * p.columns;
  for (int j = threadIdx.x * W; j < p.columns; j += blockDim.x * W) {
    float x[W] = {};
    if (named) load_values<W>(src + j, x);
    store_values<W>(dst + j, x);
  }
}

KERNEL(spread_f32, Table, kTableThreads, 4) {
  if (p.aligned)
    spread_row<4, float>(p);
  else
    spread_row<1, float>(p);
}
KERNEL(spread_bf16, Table, kTableThreads, 4) {
  if (p.aligned)
    spread_row<8, bf16>(p);
  else
    spread_row<1, bf16>(p);
}

// kNamesPerThread times as many values of index are looked through at once as there are threads.
constexpr int kNamesPerThread = 4;
constexpr int kNames = kTableThreads * kNamesPerThread;

// scatter adds up the rows of src that belong to one row of a table of zeros. There is a block for
// each value of index, and the block of the first one that names a row does all of that row. It
// looks through index in chunks. Of each chunk it lists the places that name the row: threads count
// theirs, and the sums of the counts before say where in the list a thread writes. It adds the
// listed rows in order, with eight loads on their way at once.
template <int W, class T>
TILE void scatter(const Table &p, int *memory) {
  constexpr int Ahead = 8;
  int *counts[2] = {memory, memory + kTableThreads}, *list = memory + 2 * kTableThreads;
  const u64 i = blockIdx.x;
  const float name = p.index[i];
  const int row = index_of(name, p.rows);
  if (row < 0) return;
  const int t = threadIdx.x, column = (blockIdx.y * kTableThreads + t) * W;
  const bool inside = column < p.columns;
  float sum[W] = {};
  bool begun = false;
  for (u64 chunk = 0; chunk < p.n; chunk += kNames) {
    bool named[kNamesPerThread];
    int count = 0;
    UNROLL
    for (int k = 0; k < kNamesPerThread; k++) {
      const u64 at = chunk + t * kNamesPerThread + k;
      named[k] = at < p.n && p.index[at] == name;
      count += named[k];
    }
    int before = count, turn = 0;
    counts[0][t] = count;
    for (int distance = 1; distance < kTableThreads; distance *= 2) {
      sync_block();
      if (t >= distance) before += counts[turn][t - distance];
      turn ^= 1;
      counts[turn][t] = before;
    }
    int place = before - count;
    UNROLL
    for (int k = 0; k < kNamesPerThread; k++)
      if (named[k]) list[place++] = t * kNamesPerThread + k;
    sync_block();
    const int found = counts[turn][kTableThreads - 1];
    if (found > 0 && !begun) {
      if (chunk + list[0] != i) return;
      begun = true;
    }
    if (inside) {
      for (int k = 0; k < found; k += Ahead) {
        float x[Ahead][W] = {};
        UNROLL
        for (int a = 0; a < Ahead; a++)
          if (k + a < found)
            load_values<W>((const T *)p.src + (chunk + list[k + a]) * p.columns + column, x[a]);
        UNROLL
        for (int a = 0; a < Ahead; a++) {
          UNROLL
          for (int w = 0; w < W; w++) sum[w] += x[a][w];
        }
      }
    }
    sync_block();
  }
  if (inside) store_values<W>((float *)p.dst + (u64)row * p.columns + column, sum);
}

KERNEL(scatter_f32, Table, kTableThreads, 2) {
  SHARED(memory);
  if (p.aligned)
    scatter<4, float>(p, (int *)memory);
  else
    scatter<1, float>(p, (int *)memory);
}
KERNEL(scatter_bf16, Table, kTableThreads, 2) {
  SHARED(memory);
  if (p.aligned)
    scatter<8, bf16>(p, (int *)memory);
  else
    scatter<1, bf16>(p, (int *)memory);
}

// A Timesteps is the sines and cosines of t[n]·f[j] for n < count and j < dim/2, with
// f[j] = exp(step·j). Sines begin at place sine of a row of dst [count,dim], cosines at cosine.
struct Timesteps {
  float *dst;
  const float *t;
  double step;
  u64 count;
  int dim, sine, cosine;
};

// sine_and_cosine are those of x in double. The remainder by π/2 is good for every product of a
// float32 below 2^24 and a frequency of at most 1. So there is none of the tables that the
// functions of the library have for huge arguments, nor the stack for them.
TILE void sine_and_cosine(double x, float &sine, float &cosine) {
  const double quarter = rint(x * 0.63661977236758138);
  double r = fma(quarter, -1.5707963267948966, x);
  r = fma(quarter, -6.123233995736766e-17, r);
  const double z = r * r;
  double s = 1.6059043836821613e-10, c = -1.1470745597729725e-11;  // 1/13!, −1/14!
  s = fma(s, z, -2.505210838544172e-8);   // −1/11!
  s = fma(s, z, 2.7557319223985893e-6);   // 1/9!
  s = fma(s, z, -1.984126984126984e-4);   // −1/7!
  s = fma(s, z, 8.333333333333333e-3);    // 1/5!
  s = fma(s, z, -1.6666666666666666e-1);  // −1/3!
  s = fma(s * z, r, r);
  c = fma(c, z, 2.08767569878681e-9);     // 1/12!
  c = fma(c, z, -2.755731922398589e-7);   // −1/10!
  c = fma(c, z, 2.48015873015873e-5);     // 1/8!
  c = fma(c, z, -1.388888888888889e-3);   // −1/6!
  c = fma(c, z, 4.1666666666666664e-2);   // 1/4!
  c = fma(c, z, -0.5);
  c = fma(c, z, 1.0);
  const int turn = (int)(quarter - 4 * floor(quarter * 0.25));
  const double a = turn % 2 ? c : s, b = turn % 2 ? s : c;
  sine = (float)(turn >= 2 ? -a : a);
  cosine = (float)(turn == 1 || turn == 2 ? -b : b);
}

KERNEL(timestep_embedding_f32, Timesteps, kTableThreads, 4) {
  const int half = p.dim / 2;
  const u64 at = (u64)blockIdx.x * kTableThreads + threadIdx.x;
  if (at >= p.count * half) return;
  const u64 n = at / half;
  const int j = at % half;
  float *row = p.dst + n * p.dim;
  float sine, cosine;
  sine_and_cosine(p.t[n] * exp(p.step * j), sine, cosine);
  row[p.sine + j] = sine;
  row[p.cosine + j] = cosine;
  if (j == 0 && p.dim % 2) row[p.dim - 1] = 0;
}
