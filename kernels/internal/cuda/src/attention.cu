// Attention: softmax(Q·Kᵀ/√D)·V of each head, of bf16 operands with float32 sums. The numerators
// of softmax are rounded to bf16 for the product with V, but not for their sum. The division comes
// last (Dao 2023). Scores never leave registers.
#include "attention.cuh"

struct AttentionParams {
  bf16 *out;             // [N,Lq,Heads·D], or null
  float *lse;            // [N,Heads,Lq], ln Σ exp of the scores, or null
  float *shift, *delta;  // [N,Heads,padded], what the gradient needs of each query, or null
  const bf16 *q, *k, *v;  // [N,Lq,Heads·D], [N,Lk,Heads·D]
  const bf16 *dout;      // [N,Lq,Heads·D], if delta is not null
  const float *mask;     // [N,Lk], 0 for keys that are not seen, or null
  int lq, lk, heads, padded;
  int causal;   // whether query i sees keys 0 to i only
  int aligned;  // whether out, q, k, v and dout are multiples of 16
  float scale;  // log₂ e/√D
};

// A Forward computes a block of queries of one head, and walks over the keys. A warp has Rows·16
// queries. If these are 32, keys and values are loaded half as often as for 16. So larger heads
// have fewer keys at a time and load queries again, and only the largest give up that.
template <int D>
struct Forward {
  static constexpr int Rows = D <= 128 ? 2 : 1, Warps = 4, Keys = D <= 96 ? 64 : D == 128 ? 16 : 32;
  static constexpr int Threads = 32 * Warps, Queries = 16 * Rows * Warps;
  static constexpr int Depth = steps_of(D), Stride = stride_of(Depth), ValueStride = stride_of(D);
  static constexpr int Shared = 2 * (Queries * Stride + 2 * Keys * (Stride + ValueStride));
  static_assert(D % 8 == 0 && Shared <= 99 << 10, "no such head");

  const AttentionParams &p;
  const int lane, first;  // first is the warp's first query
  const float *mask;      // of the sample
  Factor<Rows, Depth, D <= 64> q;
  float out[Rows][D / 8][4];  // not divided by sum yet
  float top[Rows][2];         // the largest score of rows g and g+8
  float sum[Rows][2];         // Σ exp(score − top) of the lane's columns

  // query is the query of row g+8·h.
  TILE int query(int r, int h) const { return first + r * 16 + h * 8 + lane / 4; }

  // hide makes scores of keys that are not seen −∞.
  TILE void hide(float (&s)[Rows][Keys / 8][4], int first_key) const {
    UNROLL
    for (int j = 0; j < Keys / 8; j++) {
      UNROLL
      for (int i = 0; i < 2; i++) {
        const int key = first_key + j * 8 + lane % 4 * 2 + i;
        const bool hidden = key >= p.lk || (mask && mask[key] == 0);
        UNROLL
        for (int r = 0; r < Rows; r++) {
          UNROLL
          for (int h = 0; h < 2; h++)
            if (hidden || (p.causal && key > query(r, h))) s[r][j][2 * h + i] = minus_infinity();
        }
      }
    }
  }

  // weigh turns scores into the numerators of softmax. If the largest score grows, what was summed
  // until now is scaled.
  TILE void weigh(float (&s)[Rows][Keys / 8][4]) {
    UNROLL
    for (int r = 0; r < Rows; r++) {
      UNROLL
      for (int h = 0; h < 2; h++) {
        float m = top[r][h];
        UNROLL
        for (int j = 0; j < Keys / 8; j++)
          m = fmaxf(m, fmaxf(s[r][j][2 * h], s[r][j][2 * h + 1]));
        m = fmaxf(m, shuffle_xor(m, 1));
        m = fmaxf(m, shuffle_xor(m, 2));
        const float shift = m == minus_infinity() ? 0 : m * p.scale;
        const float by = power2(fmaf(top[r][h], p.scale, -shift));
        top[r][h] = m;
        float l = 0;
        UNROLL
        for (int j = 0; j < Keys / 8; j++) {
          UNROLL
          for (int i = 2 * h; i < 2 * h + 2; i++)
            l += s[r][j][i] = power2(fmaf(s[r][j][i], p.scale, -shift));
        }
        sum[r][h] = fmaf(sum[r][h], by, l);
        UNROLL
        for (int c = 0; c < D / 8; c++) out[r][c][2 * h] *= by, out[r][c][2 * h + 1] *= by;
      }
    }
  }

  // step does the keys of a tile. If it is not Whole, some are hidden, and those from limit on are
  // hidden from all queries of the warp.
  template <bool Whole>
  TILE void step(int first_key, const bf16 *keys, const bf16 *values, int limit) {
    if (Whole) limit = Keys;
    float s[Rows][Keys / 8][4];
    transposed_product<Keys>(s, q, keys, limit, lane);
    if (!Whole) hide(s, first_key);
    weigh(s);
    UNROLL
    for (int j = 0; j < Keys / 16; j++) {
      if (16 * j >= limit) continue;
      u32 w[Rows][4];
      rounded_columns(w, s, j);
      add_product<ValueStride>(out, w, values + j * 16 * ValueStride, lane);
    }
  }

  // finish computes 1/Σ exp of each row, and writes what there is of the logarithms of the sums.
  TILE void finish(float (&by)[Rows][2], float *lse, float *shift) const {
    UNROLL
    for (int r = 0; r < Rows; r++) {
      UNROLL
      for (int h = 0; h < 2; h++) {
        float l = sum[r][h];
        l += shuffle_xor(l, 1);
        l += shuffle_xor(l, 2);
        by[r][h] = l == 0 ? 0 : 1 / l;
        const float log = l == 0 ? minus_infinity() : fmaf(top[r][h], p.scale, log2_(l));
        const int i = query(r, h);
        if (lane % 4 != 0) continue;
        if (lse && i < p.lq) lse[i] = log * kLn2;
        if (shift && i < p.padded) shift[i] = l == 0 ? -minus_infinity() : log;
      }
    }
  }

  // slope writes Σ out∘dout of each row. The warp's rows of dout are in shared memory.
  TILE void slope(const float (&by)[Rows][2], const bf16 *dout, float *delta) const {
    UNROLL
    for (int r = 0; r < Rows; r++) {
      UNROLL
      for (int h = 0; h < 2; h++) {
        const bf16 *row = dout + (r * 16 + h * 8 + lane / 4) * Stride + lane % 4 * 2;
        float d = 0;
        UNROLL
        for (int c = 0; c < D / 8; c++) {
          const u32 two = *(const u32 *)(row + c * 8);
          d = fmaf(out[r][c][2 * h], float_of(two << 16), d);
          d = fmaf(out[r][c][2 * h + 1], float_of(two & 0xffff0000), d);
        }
        d *= by[r][h];
        d += shuffle_xor(d, 1);
        d += shuffle_xor(d, 2);
        if (lane % 4 == 0 && query(r, h) < p.padded) delta[query(r, h)] = d;
      }
    }
  }

  TILE Forward(const AttentionParams &p, int lane, int first, const float *mask, const bf16 *rows)
      : p(p), lane(lane), first(first), mask(mask), q(rows, lane) {
    UNROLL
    for (int r = 0; r < Rows; r++) {
      UNROLL
      for (int c = 0; c < D / 8; c++)
        out[r][c][0] = out[r][c][1] = out[r][c][2] = out[r][c][3] = 0;
      top[r][0] = top[r][1] = minus_infinity();
      sum[r][0] = sum[r][1] = 0;
    }
  }

  static TILE void run(const AttentionParams &p) {
    SHARED(memory);
    bf16 *sq = (bf16 *)memory, *sk = sq + Queries * Stride, *sv = sk + 2 * Keys * Stride;
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const int blocks = (p.lq + Queries - 1) / Queries;
    const int first = blockIdx.x % blocks * Queries, head = blockIdx.x / blocks % p.heads;
    const int n = blockIdx.x / blocks / p.heads;
    const auto k = part(p.k, n, head, p.heads, p.lk, D), v = part(p.v, n, head, p.heads, p.lk, D);

    fetch<D, Threads>(sq, Stride, part(p.q, n, head, p.heads, p.lq, D), first, Queries, p.aligned);
    clear_padding<D, Threads>(sq, Stride, Queries + 2 * Keys);
    bf16 *rows = sq + warp * Rows * 16 * Stride;
    Forward f(p, lane, first + warp * Rows * 16, p.mask ? p.mask + (u64)n * p.lk : nullptr, rows);
    const int seen = p.causal ? min(p.lk, first + Queries) : p.lk;
    const int whole = p.mask ? 0 : p.causal ? min(p.lk, first + 1) : p.lk;
    const auto keys = [&](int tile) { return sk + tile % 2 * Keys * Stride; };
    const auto values = [&](int tile) { return sv + tile % 2 * Keys * ValueStride; };
    walk(
        0, whole / Keys, (seen + Keys - 1) / Keys,
        [&](int tile) {
          fetch<D, Threads>(keys(tile), Stride, k, tile * Keys, Keys, p.aligned);
          fetch<D, Threads>(values(tile), ValueStride, v, tile * Keys, Keys, p.aligned);
        },
        [&](int tile) {
          if (tile == 0) f.q.hold();
          f.template step<true>(tile * Keys, keys(tile), values(tile), Keys);
        },
        [&](int tile) {
          if (tile == 0) f.q.hold();
          const int last = p.causal ? min(p.lk, f.first + Rows * 16) : p.lk;
          f.template step<false>(tile * Keys, keys(tile), values(tile), last - tile * Keys);
        });

    float by[Rows][2];
    const u64 row = (u64)n * p.heads + head;
    f.finish(by, p.lse ? p.lse + row * p.lq : nullptr,
             p.shift ? p.shift + row * p.padded : nullptr);
    if (p.out) {
      write_rows<Stride>(rows, f.out, by, lane);
      sync_warp();
      store<D>(part(p.out, n, head, p.heads, p.lq, D), f.first, Rows * 16, rows, Stride, p.aligned);
    } else {
      fetch<D, Threads>(sq, Stride, part(p.dout, n, head, p.heads, p.lq, D), first, Queries,
                        p.aligned);
      copy_commit();
      copy_wait<0>();
      sync_block();
      f.slope(by, rows, p.delta + row * p.padded);
    }
  }
};

#define FORWARD(d) \
  KERNEL(attention_##d##_bf16, AttentionParams, Forward<d>::Threads, 2) { Forward<d>::run(p); }
HEAD_SIZES(FORWARD)
