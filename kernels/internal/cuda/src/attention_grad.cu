// The gradient of attention by its operands. With P = softmax(Q·Kᵀ/√D) and dP = dO·Vᵀ it is
//
//	dV = Pᵀ·dO   dS = P∘(dP − δ)   dQ = dS·K/√D   dK = dSᵀ·Q/√D
//
// where δ is Σ out∘dO of each query (Dao 2023). P and dS are rounded to bf16 for their products.
//
// One kernel has a block of keys and walks over the queries, for dK and dV. Another one has a block
// of queries and walks over the keys, for dQ. So Q·Kᵀ and dP are computed twice: 7 products for 5.
// In return no two blocks add to the same values. If the first computed dQ as well, each of its
// blocks would write a float32 part of dQ for each query, and others would add them. For a sequence
// of 4096 these are 32 times dQ. To write and read them takes as long as the two products.
#include "attention.cuh"

struct AttentionGradParams {
  bf16 *dq, *dk, *dv;                 // like q, k and v
  float *parts;                       // [splits,2,N,Lk,Heads·D], parts of dk and dv, or null
  const bf16 *q, *k, *v, *dout;       // [N,Lq,Heads·D], [N,Lk,Heads·D]
  const float *shift, *delta, *mask;  // [N,Heads,padded], log₂ Σ exp and δ; [N,Lk] or null
  int n, lq, lk, heads, padded;
  int splits;   // of the queries, for dk and dv
  int causal;   // whether query i sees keys 0 to i only
  int aligned;  // whether operands and results are multiples of 16
  float scale;  // log₂ e/√D
  float root;   // 1/√D
};

// slopes turns scores into P, and dP into dS, where shift and delta are of the value's query.
TILE void slopes(float &score, float &dp, float scale, float shift, float delta, bool hidden) {
  score = hidden ? 0 : power2(fmaf(score, scale, -shift));
  dp = score * (dp - delta);
}

template <int Rows, int Columns>
TILE void clear(float (&c)[Rows][Columns][4]) {
  UNROLL
  for (int r = 0; r < Rows; r++) {
    UNROLL
    for (int i = 0; i < Columns; i++) c[r][i][0] = c[r][i][1] = c[r][i][2] = c[r][i][3] = 0;
  }
}

// A GradKeys computes dK and dV of a block of keys of one head, and walks over the queries. Scores
// are transposed, K·Qᵀ. Then rows are keys, and the result of a product is a left factor of the
// next. Blocks divide the columns of the largest dK and dV into Parts.
template <int D>
struct GradKeys {
  static constexpr int Rows = D <= 64 ? 2 : 1, Warps = D == 256 ? 3 : 4, Parts = D > 160 ? 2 : 1;
  static constexpr int Queries = D <= 64 ? 64 : D <= 128 ? 32 : 16;
  static constexpr int Threads = 32 * Warps, Keys = 16 * Rows * Warps, Width = D / Parts;
  static constexpr int Depth = steps_of(D), Stride = stride_of(Depth);
  static constexpr bool Held = D <= 40 || (Rows == 1 && D <= 80);
  static constexpr int Unrolled = D <= 48 || (Rows == 1 && D <= 112) ? 2 : 1;

  const AttentionGradParams &p;
  const int lane, first;  // first is the warp's first key
  Factor<Rows, Depth, Held> k, v;
  float dk[Rows][Width / 8][4], dv[Rows][Width / 8][4];

  // key is the key of row g+8·h.
  TILE int key(int r, int h) const { return first + r * 16 + h * 8 + lane / 4; }

  // step does a tile of queries. If it is not Whole, some of them do not see some of the keys.
  template <bool Whole>
  TILE void step(int first_query, const bf16 *q, const bf16 *dout, const float *stats, int column) {
    UNROLLED(Unrolled)
    for (int j = 0; j < Queries; j += 16) {
      if (!Whole && first_query + j < first) continue;  // both are multiples of 16
      float s[Rows][2][4], dp[Rows][2][4];
      transposed_product<16>(s, k, q + j * Stride, 16, lane);
      transposed_product<16>(dp, v, dout + j * Stride, 16, lane);
      UNROLL
      for (int c = 0; c < 2; c++) {
        UNROLL
        for (int i = 0; i < 2; i++) {
          const int query = j + c * 8 + lane % 4 * 2 + i;
          const float shift = stats[query], delta = stats[Queries + query];
          UNROLL
          for (int r = 0; r < Rows; r++) {
            UNROLL
            for (int h = 0; h < 2; h++)
              slopes(s[r][c][2 * h + i], dp[r][c][2 * h + i], p.scale, shift, delta,
                     !Whole && key(r, h) > first_query + query);
          }
        }
      }
      u32 w[Rows][4];
      rounded_columns(w, s, 0);
      add_product<Stride>(dv, w, dout + j * Stride + column, lane);
      rounded_columns(w, dp, 0);
      add_product<Stride>(dk, w, q + j * Stride + column, lane);
    }
  }

  // hide makes gradients of keys that are not seen zeros.
  TILE void hide(const float *mask) {
    UNROLL
    for (int r = 0; r < Rows; r++) {
      UNROLL
      for (int h = 0; h < 2; h++) {
        if (key(r, h) >= p.lk || mask[key(r, h)] != 0) continue;
        UNROLL
        for (int c = 0; c < Width / 8; c++) {
          UNROLL
          for (int i = 2 * h; i < 2 * h + 2; i++) dk[r][c][i] = dv[r][c][i] = 0;
        }
      }
    }
  }

  // write_part writes rows times by as float32.
  TILE void write_part(Part<float> to, const float (&c)[Rows][Width / 8][4], float by) const {
    UNROLL
    for (int r = 0; r < Rows; r++) {
      UNROLL
      for (int h = 0; h < 2; h++) {
        if (key(r, h) >= p.lk) continue;
        float *row = to.at + (u64)key(r, h) * to.width + lane % 4 * 2;
        UNROLL
        for (int i = 0; i < Width / 8; i++)
          *(Pair *)(row + i * 8) = {c[r][i][2 * h] * by, c[r][i][2 * h + 1] * by};
      }
    }
  }

  // write writes rows times by as bf16, by way of the warp's own rows of shared memory.
  TILE void write(Part<bf16> to, const float (&c)[Rows][Width / 8][4], float by, bf16 *rows) const {
    write_rows<Stride>(rows, c, by, lane);
    sync_warp();
    store<Width>(to, first, Rows * 16, rows, Stride, p.aligned);
  }

  TILE GradKeys(const AttentionGradParams &p, int lane, int first, const bf16 *k, const bf16 *v)
      : p(p), lane(lane), first(first), k(k, lane), v(v, lane) {
    clear(dk);
    clear(dv);
  }

  static TILE void run(const AttentionGradParams &p) {
    SHARED(memory);
    bf16 *sk = (bf16 *)memory, *sv = sk + Keys * Stride, *sq = sv + Keys * Stride;
    bf16 *sdout = sq + 2 * Queries * Stride;
    float *stats = (float *)(sdout + 2 * Queries * Stride);
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const int column = blockIdx.x % Parts * Width;
    const int blocks = (p.lk + Keys - 1) / Keys;
    const int first = blockIdx.x / Parts % blocks * Keys;
    const int split = blockIdx.x / Parts / blocks % p.splits;
    const int row = blockIdx.x / Parts / blocks / p.splits;  // of heads
    const int n = row / p.heads, head = row % p.heads;
    const auto q = part(p.q, n, head, p.heads, p.lq, D);
    const auto dout = part(p.dout, n, head, p.heads, p.lq, D);
    const float *shift = p.shift + (u64)row * p.padded, *delta = p.delta + (u64)row * p.padded;

    fetch<D, Threads>(sk, Stride, part(p.k, n, head, p.heads, p.lk, D), first, Keys, p.aligned);
    fetch<D, Threads>(sv, Stride, part(p.v, n, head, p.heads, p.lk, D), first, Keys, p.aligned);
    clear_padding<D, Threads>(sk, Stride, 2 * Keys + 4 * Queries);
    bf16 *keys = sk + warp * Rows * 16 * Stride, *values = sv + warp * Rows * 16 * Stride;
    GradKeys g(p, lane, first + warp * Rows * 16, keys, values);
    // Tiles before the first are of queries that see none of the keys. Those before sighted are of
    // queries that do not see all.
    const int begin = p.causal ? first / Queries : 0;
    const int tiles = max(0, (p.lq + Queries - 1) / Queries - begin);
    const int from = begin + tiles * split / p.splits;
    const int to = begin + tiles * (split + 1) / p.splits;
    const int sighted = p.causal ? min(to, (first + Keys - 1 + Queries - 1) / Queries) : from;
    const bool works = g.first < p.lk;
    const auto at = [&](int tile) { return tile % 2 * Queries * Stride; };
    walk(
        from, sighted, to,
        [&](int tile) {
          fetch<D, Threads>(sq + at(tile), Stride, q, tile * Queries, Queries, p.aligned);
          fetch<D, Threads>(sdout + at(tile), Stride, dout, tile * Queries, Queries, p.aligned);
          const int unit = thread % (Queries / 4) * 4;
          if (thread < Queries / 2)
            copy16(stats + (tile % 2 * 2 + thread / (Queries / 4)) * Queries + unit,
                   (thread < Queries / 4 ? shift : delta) + tile * Queries + unit, true);
        },
        [&](int tile) {
          if (tile == from) g.k.hold(), g.v.hold();
          if (works)
            g.template step<false>(tile * Queries, sq + at(tile), sdout + at(tile),
                                   stats + tile % 2 * 2 * Queries, column);
        },
        [&](int tile) {
          if (tile == from) g.k.hold(), g.v.hold();
          if (works)
            g.template step<true>(tile * Queries, sq + at(tile), sdout + at(tile),
                                  stats + tile % 2 * 2 * Queries, column);
        });

    if (p.mask) g.hide(p.mask + (u64)n * p.lk);
    if (p.parts) {
      const u64 size = (u64)p.n * p.lk * p.heads * D;
      float *parts = p.parts + split * 2 * size + column;
      g.write_part(part(parts, n, head, p.heads, p.lk, D), g.dk, p.root);
      g.write_part(part(parts + size, n, head, p.heads, p.lk, D), g.dv, 1);
    } else {
      g.write(part(p.dk + column, n, head, p.heads, p.lk, D), g.dk, p.root, keys);
      g.write(part(p.dv + column, n, head, p.heads, p.lk, D), g.dv, 1, values);
    }
  }
};

// A GradQueries computes dQ of a block of queries of one head, and walks over the keys.
template <int D>
struct GradQueries {
  static constexpr int Rows = D <= 96 ? 2 : 1, Warps = 4;
  static constexpr int Keys = D <= 64 ? 64 : D <= 128 ? 32 : 16;
  static constexpr int Threads = 32 * Warps, Queries = 16 * Rows * Warps;
  static constexpr int Depth = steps_of(D), Stride = stride_of(Depth);
  static constexpr bool Held = D <= 48 || (Rows == 1 && D <= 128);
  static constexpr int Unrolled = D <= 80 || Rows == 1 ? 2 : 1;

  const AttentionGradParams &p;
  const int lane, first;  // first is the warp's first query
  const float *mask;      // of the sample
  Factor<Rows, Depth, Held> q, dout;
  float dq[Rows][D / 8][4], shift[Rows][2], delta[Rows][2];

  // query is the query of row g+8·h.
  TILE int query(int r, int h) const { return first + r * 16 + h * 8 + lane / 4; }

  // step does a tile of keys. If it is not Whole, some are hidden, and those from limit on are
  // hidden from all queries of the warp.
  template <bool Whole>
  TILE void step(int first_key, const bf16 *k, const bf16 *v, int limit) {
    UNROLLED(Unrolled)
    for (int j = 0; j < Keys; j += 16) {
      if (!Whole && j >= limit) continue;
      float s[Rows][2][4], dp[Rows][2][4];
      transposed_product<16>(s, q, k + j * Stride, 16, lane);
      transposed_product<16>(dp, dout, v + j * Stride, 16, lane);
      UNROLL
      for (int c = 0; c < 2; c++) {
        UNROLL
        for (int i = 0; i < 2; i++) {
          const int key = first_key + j + c * 8 + lane % 4 * 2 + i;
          const bool hidden = !Whole && (key >= p.lk || (mask && mask[key] == 0));
          UNROLL
          for (int r = 0; r < Rows; r++) {
            UNROLL
            for (int h = 0; h < 2; h++)
              slopes(s[r][c][2 * h + i], dp[r][c][2 * h + i], p.scale, shift[r][h], delta[r][h],
                     hidden || (!Whole && p.causal && key > query(r, h)));
          }
        }
      }
      u32 w[Rows][4];
      rounded_columns(w, dp, 0);
      add_product<Stride>(dq, w, k + j * Stride, lane);
    }
  }

  TILE GradQueries(const AttentionGradParams &p, int lane, int first, int head, const float *mask,
                   const bf16 *q, const bf16 *dout)
      : p(p), lane(lane), first(first), mask(mask), q(q, lane), dout(dout, lane) {
    clear(dq);
    UNROLL
    for (int r = 0; r < Rows; r++) {
      UNROLL
      for (int h = 0; h < 2; h++) {
        const bool there = query(r, h) < p.lq;
        const u64 at = (u64)head * p.padded + query(r, h);
        shift[r][h] = there ? p.shift[at] : -minus_infinity();
        delta[r][h] = there ? p.delta[at] : 0;
      }
    }
  }

  static TILE void run(const AttentionGradParams &p) {
    SHARED(memory);
    bf16 *sq = (bf16 *)memory, *sdout = sq + Queries * Stride, *sk = sdout + Queries * Stride;
    bf16 *sv = sk + 2 * Keys * Stride;
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const int blocks = (p.lq + Queries - 1) / Queries;
    const int first = blockIdx.x % blocks * Queries, row = blockIdx.x / blocks;
    const int n = row / p.heads, head = row % p.heads;
    const auto k = part(p.k, n, head, p.heads, p.lk, D), v = part(p.v, n, head, p.heads, p.lk, D);

    fetch<D, Threads>(sq, Stride, part(p.q, n, head, p.heads, p.lq, D), first, Queries, p.aligned);
    fetch<D, Threads>(sdout, Stride, part(p.dout, n, head, p.heads, p.lq, D), first, Queries,
                      p.aligned);
    clear_padding<D, Threads>(sq, Stride, 2 * Queries + 4 * Keys);
    bf16 *rows = sq + warp * Rows * 16 * Stride;
    GradQueries g(p, lane, first + warp * Rows * 16, row,
                  p.mask ? p.mask + (u64)n * p.lk : nullptr, rows,
                  sdout + warp * Rows * 16 * Stride);
    const int seen = p.causal ? min(p.lk, first + Queries) : p.lk;
    const int whole = p.mask ? 0 : p.causal ? min(p.lk, first + 1) : p.lk;
    const auto at = [&](int tile) { return tile % 2 * Keys * Stride; };
    walk(
        0, whole / Keys, (seen + Keys - 1) / Keys,
        [&](int tile) {
          fetch<D, Threads>(sk + at(tile), Stride, k, tile * Keys, Keys, p.aligned);
          fetch<D, Threads>(sv + at(tile), Stride, v, tile * Keys, Keys, p.aligned);
        },
        [&](int tile) {
          if (tile == 0) g.q.hold(), g.dout.hold();
          g.template step<true>(tile * Keys, sk + at(tile), sv + at(tile), Keys);
        },
        [&](int tile) {
          if (tile == 0) g.q.hold(), g.dout.hold();
          const int last = p.causal ? min(p.lk, g.first + Rows * 16) : p.lk;
          g.template step<false>(tile * Keys, sk + at(tile), sv + at(tile), last - tile * Keys);
        });

    write_rows<Stride>(rows, g.dq, p.root, lane);
    sync_warp();
    store<D>(part(p.dq, n, head, p.heads, p.lq, D), g.first, Rows * 16, rows, Stride, p.aligned);
  }
};

#define GRADIENTS(d)                                                                         \
  KERNEL(attention_grad_keys_##d##_bf16, AttentionGradParams, GradKeys<d>::Threads, 2) {       \
    GradKeys<d>::run(p);                                                                     \
  }                                                                                          \
  KERNEL(attention_grad_queries_##d##_bf16, AttentionGradParams, GradQueries<d>::Threads, 2) { \
    GradQueries<d>::run(p);                                                                  \
  }
HEAD_SIZES(GRADIENTS)

// take is 8 values of x.
TILE void take(const bf16 *x, bool aligned, float (&values)[8]) {
  if (aligned) return unpack(*(const Vector *)x, values);
  UNROLL
  for (int k = 0; k < 8; k++) values[k] = widen(x[k]);
}

// A Delta is what the kernels above need of out and lse.
struct Delta {
  float *shift, *delta;    // [N,Heads,padded]
  const bf16 *out, *dout;  // [N,Lq,Heads·D]
  const float *lse;        // [N,Heads,Lq]
  int lq, heads, d, padded;
  int aligned;  // whether out and dout are multiples of 16
};

constexpr int kDeltaThreads = 256, kDeltaLanes = 8;

// attention_grad_delta has 8 lanes for a head of a query, each with 16 bytes at a time. Neighbours
// are next to each other in out and dout. padded is a multiple of the 32 heads that a block has, so
// blocks are whole. Queries that are not there see no key.
KERNEL(attention_grad_delta_bf16, Delta, kDeltaThreads, 4) {
  const int thread = threadIdx.x, lane = thread % kDeltaLanes;
  const u64 i = ((u64)blockIdx.x * kDeltaThreads + thread) / kDeltaLanes;
  const int head = i % p.heads, query = i / p.heads % p.padded;
  const u64 n = i / p.heads / p.padded;
  const bool there = query < p.lq;
  float sum = 0;
  if (there) {
    const u64 at = ((n * p.lq + query) * p.heads + head) * p.d;
    for (int c = lane * 8; c < p.d; c += kDeltaLanes * 8) {
      float x[8], y[8];
      take(p.out + at + c, p.aligned, x);
      take(p.dout + at + c, p.aligned, y);
      UNROLL
      for (int k = 0; k < 8; k++) sum = fmaf(x[k], y[k], sum);
    }
  }
  UNROLL
  for (int lanes = kDeltaLanes / 2; lanes > 0; lanes /= 2) sum += shuffle_xor(sum, lanes);
  if (lane != 0) return;
  const u64 row = n * p.heads + head;
  const float lse = there ? p.lse[row * p.lq + query] : minus_infinity();
  p.shift[row * p.padded + query] = lse == minus_infinity() ? -lse : lse * kLog2E;
  p.delta[row * p.padded + query] = sum;
}

// A Sum is dk and dv, of n values each, as sums of parts [splits,2,n].
struct Sum {
  bf16 *dk, *dv;
  const float *parts;
  u64 n;  // a multiple of 8
  int splits;
  int aligned;  // whether dk and dv are multiples of 16
};

constexpr int kSumThreads = 128;

// attention_grad_sum has a thread for 8 values of dk and of dv, which adds their parts in order.
KERNEL(attention_grad_sum_bf16, Sum, kSumThreads, 8) {
  const u64 at = ((u64)blockIdx.x * kSumThreads + threadIdx.x) * 8;
  if (at >= p.n) return;
  UNROLL
  for (int which = 0; which < 2; which++) {
    float sum[8] = {};
    for (int split = 0; split < p.splits; split++) {
      const Vector *part = (const Vector *)(p.parts + (split * 2 + which) * p.n + at);
      float x[2][4];
      unpack(part[0], x[0]);
      unpack(part[1], x[1]);
      UNROLL
      for (int k = 0; k < 8; k++) sum[k] += x[k / 4][k % 4];
    }
    bf16 *to = (which == 0 ? p.dk : p.dv) + at;
    if (p.aligned) {
      *(Vector *)to = packed(sum);
    } else {
      for (int k = 0; k < 8; k++) to[k] = narrow(sum[k]);
    }
  }
}
