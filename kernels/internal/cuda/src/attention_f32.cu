// Attention of float32 values, softmax(Q·Kᵀ/√D)·V of each head, and its gradients, for heads of any
// number D of values.
//
// A block has some queries of a head and walks over its keys, or has some keys and walks over the
// queries. Scores are only ever there for one block of queries and one of keys. They go through
// shared memory as the left operand of the products that sum over them.
//
// A block computes up to W columns of the result. If D is larger, other blocks compute the other
// columns, and compute the same scores. So the sums stay in registers.
//
// Operands reach shared memory in stages, which are copied one ahead: kStep columns of two operands
// whose rows are multiplied, or kRun rows of what is summed over. The threads of a block are 8
// times 16. Thread (ty,tx) has the scores of the rows ty + 8·r and the columns tx + 16·c, and
// columns 4·(tx + 16·c) to 4·(tx + 16·c) + 3 of the result.
#include "tile.cuh"

struct AttentionF32 {
  float *out;              // [N,Lq,Heads·D], or the gradient by q or by k
  float *dv;               // the gradient by v
  const float *q, *k, *v;  // [N,Lq,Heads·D], [N,Lk,Heads·D], [N,Lk,Heads·D]
  const float *mask;       // [N,Lk], 0 where keys are not seen, or null
  const float *dout;       // [N,Lq,Heads·D]
  float *lse;              // [N,Heads,Lq], log Σ exp of the scores, or null
  float *delta;            // [parts,N,Heads,Lq], parts of Σ dout·out
  u64 rows;                // N·Heads·Lq
  int heads, lq, lk, d;
  int chunks;  // of W columns
  int parts;   // of delta
  int causal;
  int aligned;  // whether 4 values of a row can be moved at once
  float scale;  // 1/√D
};

constexpr int kAttentionThreads = 128;
constexpr int kStep = 32, kRun = 16;
constexpr int kBlock = 64;             // keys, or queries of a block that has some
constexpr int kPadded = kStep + 4;     // threads read rows that are in different banks
constexpr int kWeights = kBlock + 16;  // threads write rows that are in different banks
constexpr int kStage = 2 * kBlock * kPadded;  // values

// A Head is what a block works on: some columns of one head, and some of its queries or keys.
struct Head {
  int n, head, first, col, chunk;
  u64 width;  // of all heads

  // of_block finds the block's head, where each has so many rows, in blocks of kBlock.
  static TILE Head of_block(const AttentionF32 &p, int rows, int cols) {
    const int blocks = (rows + kBlock - 1) / kBlock;
    const int chunk = blockIdx.x % p.chunks, at = blockIdx.x / p.chunks, of = at / blocks;
    return {of / p.heads,  of % p.heads, (at - of * blocks) * kBlock,
            chunk * cols, chunk,        (u64)p.heads * p.d};
  }
  TILE u64 row(int length, int row) const { return ((u64)n * length + row) * width; }
  // queries and keys are the first row of the head in an operand.
  TILE const float *queries(const AttentionF32 &p, const float *x) const {
    return x + row(p.lq, 0) + head * p.d;
  }
  TILE const float *keys(const AttentionF32 &p, const float *x) const {
    return x + row(p.lk, 0) + head * p.d;
  }
  // statistic is where lse and delta of a query are.
  TILE u64 statistic(const AttentionF32 &p, int query) const {
    return ((u64)n * p.heads + head) * p.lq + query;
  }
  TILE bool seen(const AttentionF32 &p, int key) const {
    return key < p.lk && (!p.mask || p.mask[(u64)n * p.lk + key] != 0);
  }
};

TILE int tx() { return threadIdx.x % 16; }
TILE int ty() { return threadIdx.x / 16; }

// fetch begins to copy rows [first,first+Rows) of from, columns [col,col+width), width being at
// most Width. Rows from count on are zeros, and so are columns up to a multiple of 4.
template <int Rows, int Width>
TILE void fetch(const AttentionF32 &p, float *to, int stride, const float *from, u64 from_stride,
                int first, int count, int col, int width) {
  constexpr int Units = Width / 4;
  UNROLL
  for (int i = threadIdx.x; i < Rows * Units; i += kAttentionThreads) {
    const int row = i / Units, unit = i % Units * 4;
    if (unit >= width) continue;
    const bool valid = first + row < count;
    const float *const at = from + (valid ? first + row : 0) * from_stride + col + unit;
    float *const put = to + row * stride + unit;
    if (p.aligned) {
      copy16(put, at, valid);
      continue;
    }
    for (int j = 0; j < 4; j++) put[j] = valid && unit + j < width ? at[j] : 0;
  }
}

// A Stages hands out stages of operands. fetch(stage, to) begins to copy one.
template <class Fetch>
struct Stages {
  Fetch fetch;
  int count;
  float *memory;  // of two stages
  int next_stage;

  TILE void begin() {
    next_stage = 0;
    if (count > 0) fetch(0, memory);
    copy_commit();
  }
  // next waits for the next stage, and begins to copy the one after it to where the last one was.
  TILE const float *next() {
    copy_wait<0>();
    sync_block();
    const float *const now = memory + next_stage % 2 * kStage;
    next_stage++;
    if (next_stage < count) fetch(next_stage, memory + next_stage % 2 * kStage);
    copy_commit();
    return now;
  }
};
template <class Fetch>
TILE Stages<Fetch> stages(Fetch fetch, int count, float *memory) {
  return {fetch, count, memory, 0};
}

// add_dots is s[i,j] += Σ_d a[i,d]·b[j,d] for d < depth, of a stage.
template <int R>
TILE void add_dots(float (&s)[R][4], const float *stage, int depth) {
  const float *a = stage + ty() * kPadded, *b = stage + (8 * R + tx()) * kPadded;
  for (int d = 0; d < depth; d += 4) {
    float y[4][4];
    UNROLL
    for (int c = 0; c < 4; c++) unpack(*(const Vector *)(b + 16 * c * kPadded + d), y[c]);
    UNROLL
    for (int r = 0; r < R; r++) {
      float x[4];
      unpack(*(const Vector *)(a + 8 * r * kPadded + d), x);
      UNROLL
      for (int c = 0; c < 4; c++) {
        UNROLL
        for (int e = 0; e < 4; e++) s[r][c] = fmaf(x[e], y[c][e], s[r][c]);
      }
    }
  }
}

// dots is s[i,j] = Σ_d a[i,d]·b[j,d], of as many stages as that takes.
template <int R, class S>
TILE void dots(float (&s)[R][4], S &stages, int d) {
  UNROLL
  for (int r = 0; r < R; r++) s[r][0] = s[r][1] = s[r][2] = s[r][3] = 0;
  for (int at = 0; at < d; at += kStep) add_dots(s, stages.next(), min(kStep, d - at));
}

// put_weights writes scores to shared memory.
template <int R>
TILE void put_weights(float *to, const float (&s)[R][4]) {
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int c = 0; c < 4; c++) to[(ty() + 8 * r) * kWeights + tx() + 16 * c] = s[r][c];
  }
}

// add_rows is o[i] += Σ_j w[i,j]·x[j] for the kRun rows j of a stage. w is at their first column.
template <int W>
TILE void add_rows(float (&o)[8][W / 64][4], const float *w, const float *x) {
  UNROLL
  for (int j = 0; j < kRun; j += 4) {
    float y[4][W / 64][4];
    UNROLL
    for (int e = 0; e < 4; e++) {
      UNROLL
      for (int c = 0; c < W / 64; c++)
        unpack(*(const Vector *)(x + (j + e) * W + 4 * (tx() + 16 * c)), y[e][c]);
    }
    UNROLL
    for (int r = 0; r < 8; r++) {
      float v[4];
      unpack(*(const Vector *)(w + (ty() + 8 * r) * kWeights + j), v);
      UNROLL
      for (int e = 0; e < 4; e++) {
        UNROLL
        for (int c = 0; c < W / 64; c++) {
          UNROLL
          for (int i = 0; i < 4; i++) o[r][c][i] = fmaf(v[e], y[e][c][i], o[r][c][i]);
        }
      }
    }
  }
}

// add_outer is o[j] += Σ_i w[i,j]·x[i] for the kRun rows i of a stage, of which w has the first.
// The thread has the rows 8·ty + r of o.
template <int W>
TILE void add_outer(float (&o)[8][W / 64][4], const float *w, const float *x) {
  UNROLL
  for (int i = 0; i < kRun; i++) {
    const float *const weights = w + i * kWeights + 8 * ty();
    float v[2][4], y[W / 64][4];
    UNROLL
    for (int h = 0; h < 2; h++) unpack(*(const Vector *)(weights + 4 * h), v[h]);
    UNROLL
    for (int c = 0; c < W / 64; c++)
      unpack(*(const Vector *)(x + i * W + 4 * (tx() + 16 * c)), y[c]);
    UNROLL
    for (int r = 0; r < 8; r++) {
      UNROLL
      for (int c = 0; c < W / 64; c++) {
        UNROLL
        for (int e = 0; e < 4; e++) o[r][c][e] = fmaf(v[r / 4][r % 4], y[c][e], o[r][c][e]);
      }
    }
  }
}

template <int W>
TILE void clear(float (&o)[8][W / 64][4]) {
  UNROLL
  for (int r = 0; r < 8; r++) {
    UNROLL
    for (int c = 0; c < W / 64; c++) o[r][c][0] = o[r][c][1] = o[r][c][2] = o[r][c][3] = 0;
  }
}

// put_columns writes a·o to columns of a row of the result, as far as they are there.
template <int C>
TILE void put_columns(const AttentionF32 &p, float *line, const float (&o)[C][4], float a,
                      int col) {
  UNROLL
  for (int c = 0; c < C; c++) {
    const int at = col + 4 * (tx() + 16 * c);
    const float v[4] = {a * o[c][0], a * o[c][1], a * o[c][2], a * o[c][3]};
    if (p.aligned && at < p.d) {
      *(Vector *)(line + at) = packed(v);
      continue;
    }
    UNROLL
    for (int e = 0; e < 4; e++)
      if (at + e < p.d) line[at + e] = v[e];
  }
}

// row_max and row_sum combine the values of the threads that share a row.
TILE float row_max(float x) {
  UNROLL
  for (int lanes = 8; lanes > 0; lanes /= 2) x = fmaxf(x, shuffle_xor(x, lanes));
  return x;
}
TILE float row_sum(float x) {
  UNROLL
  for (int lanes = 8; lanes > 0; lanes /= 2) x += shuffle_xor(x, lanes);
  return x;
}

// keys_seen is how many keys the queries of a block may see.
TILE int keys_seen(const AttentionF32 &p, int first) {
  return p.causal ? min(p.lk, first + kBlock) : p.lk;
}

// A Walk is how a block goes over length rows. It takes tiles of Rows of them. A tile has steps
// stages for the scores, and then a stage for each kRun of its rows. The last tile has fewer rows.
template <int Rows>
struct Walk {
  int length, steps;

  TILE int tiles() const { return (length + Rows - 1) / Rows; }
  TILE int per_tile() const { return steps + Rows / kRun; }
  TILE int stages() const { return tiles() * steps + (length + kRun - 1) / kRun; }
  // rows is how many rows of a tile there are.
  TILE int rows(int tile) const { return min(Rows, length - tile * Rows); }
};

// forward computes columns of the result for a block of queries. It goes over the keys once, and
// scales what it has summed whenever the largest score of a row grows. With Statistics it computes
// lse and delta instead of the result.
template <int W, bool Statistics>
TILE void forward(const AttentionF32 &p) {
  SHARED(memory);
  float *const buffers = (float *)memory, *const weights = buffers + 2 * kStage;
  const Head h = Head::of_block(p, p.lq, W);
  const float *q = h.queries(p, p.q), *k = h.keys(p, p.k), *v = h.keys(p, p.v);
  const int steps = (p.d + kStep - 1) / kStep, width = min(W, p.d - h.col);
  const Walk<kBlock> walk{keys_seen(p, h.first), steps};

  auto all = stages(
      [&](int stage, float *to) {
        const int tile = stage / walk.per_tile(), step = stage % walk.per_tile();
        const int col = step * kStep;
        if (step < steps) {
          const int n = min(kStep, p.d - col);
          fetch<kBlock, kStep>(p, to, kPadded, q, h.width, h.first, p.lq, col, n);
          fetch<kBlock, kStep>(p, to + kBlock * kPadded, kPadded, k, h.width, tile * kBlock, p.lk,
                               col, n);
        } else {
          fetch<kRun, W>(p, to, W, v, h.width, tile * kBlock + (step - steps) * kRun, p.lk, h.col,
                         width);
        }
      },
      walk.stages(), buffers);
  all.begin();

  float o[8][W / 64][4], top[8], sum[8];
  clear<W>(o);
  UNROLL
  for (int r = 0; r < 8; r++) top[r] = minus_infinity(), sum[r] = 0;
  for (int tile = 0; tile < walk.tiles(); tile++) {
    float s[8][4];
    dots(s, all, p.d);
    bool seen[4];
    UNROLL
    for (int c = 0; c < 4; c++) seen[c] = h.seen(p, tile * kBlock + tx() + 16 * c);
    UNROLL
    for (int r = 0; r < 8; r++) {
      float most = minus_infinity();
      UNROLL
      for (int c = 0; c < 4; c++) {
        const bool later = tile * kBlock + tx() + 16 * c > h.first + ty() + 8 * r;
        s[r][c] = seen[c] && !(p.causal && later) ? s[r][c] * p.scale : minus_infinity();
        most = fmaxf(most, s[r][c]);
      }
      most = fmaxf(top[r], row_max(most));
      const float shift = most == minus_infinity() ? 0 : most, by = expf(top[r] - shift);
      top[r] = most;
      float here = 0;
      UNROLL
      for (int c = 0; c < 4; c++) here += s[r][c] = expf(s[r][c] - shift);
      sum[r] = fmaf(sum[r], by, here);
      UNROLL
      for (int c = 0; c < W / 64; c++) {
        UNROLL
        for (int e = 0; e < 4; e++) o[r][c][e] *= by;
      }
    }
    put_weights(weights, s);  // the next stage's barrier orders this
    for (int at = 0; at < walk.rows(tile); at += kRun) {
      const float *const rows = all.next();
      if (4 * tx() < width) add_rows<W>(o, weights + at, rows);
    }
  }

  UNROLL
  for (int r = 0; r < 8; r++) {
    const float total = row_sum(sum[r]), by = total == 0 ? 0 : 1 / total;
    const int query = h.first + ty() + 8 * r;
    const bool valid = query < p.lq;
    if (Statistics) {
      float delta = 0;
      UNROLL
      for (int c = 0; c < W / 64; c++) {
        UNROLL
        for (int e = 0; e < 4; e++) {
          const int col = h.col + 4 * (tx() + 16 * c) + e;
          if (valid && col < p.d)
            delta = fmaf(h.queries(p, p.dout)[query * h.width + col], o[r][c][e] * by, delta);
        }
      }
      delta = row_sum(delta);
      if (valid && tx() == 0) p.delta[h.chunk * p.rows + h.statistic(p, query)] = delta;
    } else if (valid) {
      put_columns(p, p.out + h.row(p.lq, query) + h.head * p.d, o[r], by, h.col);
    }
    if (p.lse && valid && tx() == 0 && h.chunk == 0)
      p.lse[h.statistic(p, query)] = top[r] + logf(total);
  }
}

// statistics reads lse and delta of the R queries of a thread, from a first one on. A query that
// sees no key, or is not there, has a log Σ exp of infinity here, so that all its weights are zero.
template <int R>
TILE void statistics(const AttentionF32 &p, const Head &h, int first, float (&lse)[R],
                     float (&delta)[R]) {
  UNROLL
  for (int r = 0; r < R; r++) {
    const int query = first + ty() + 8 * r;
    lse[r] = minus_infinity(), delta[r] = 0;
    if (query < p.lq) {
      lse[r] = p.lse[h.statistic(p, query)];
      for (int i = 0; i < p.parts; i++) delta[r] += p.delta[i * p.rows + h.statistic(p, query)];
    }
    if (lse[r] == minus_infinity()) lse[r] = -minus_infinity();
  }
}

// weigh turns scores s into the probabilities P, and their gradient dp into that of the scores,
// P ∘ (dP − Σ dout·out).
template <int R>
TILE void weigh(const AttentionF32 &p, const Head &h, float (&s)[R][4], float (&dp)[R][4],
                int query, int key, const float (&lse)[R], const float (&delta)[R]) {
  UNROLL
  for (int c = 0; c < 4; c++) {
    const int at = key + tx() + 16 * c;
    const bool seen = h.seen(p, at);
    UNROLL
    for (int r = 0; r < R; r++) {
      const bool later = at > query + ty() + 8 * r;
      s[r][c] = seen && !(p.causal && later) ? expf(fmaf(s[r][c], p.scale, -lse[r])) : 0;
      dp[r][c] = s[r][c] * (dp[r][c] - delta[r]);
    }
  }
}

// grad_queries computes columns of the gradient by a block of queries.
template <int W>
TILE void grad_queries(const AttentionF32 &p) {
  SHARED(memory);
  float *const buffers = (float *)memory, *const weights = buffers + 2 * kStage;
  const Head h = Head::of_block(p, p.lq, W);
  const float *q = h.queries(p, p.q), *k = h.keys(p, p.k), *v = h.keys(p, p.v);
  const float *dout = h.queries(p, p.dout);
  const int steps = (p.d + kStep - 1) / kStep, width = min(W, p.d - h.col);
  const Walk<kBlock> walk{keys_seen(p, h.first), 2 * steps};

  auto all = stages(
      [&](int stage, float *to) {
        const int tile = stage / walk.per_tile(), step = stage % walk.per_tile();
        if (step < 2 * steps) {
          const bool second = step >= steps;
          const int col = (second ? step - steps : step) * kStep, n = min(kStep, p.d - col);
          fetch<kBlock, kStep>(p, to, kPadded, second ? dout : q, h.width, h.first, p.lq, col, n);
          fetch<kBlock, kStep>(p, to + kBlock * kPadded, kPadded, second ? v : k, h.width,
                               tile * kBlock, p.lk, col, n);
        } else {
          fetch<kRun, W>(p, to, W, k, h.width, tile * kBlock + (step - 2 * steps) * kRun, p.lk,
                         h.col, width);
        }
      },
      walk.stages(), buffers);
  all.begin();

  float dq[8][W / 64][4], lse[8], delta[8];
  clear<W>(dq);
  statistics(p, h, h.first, lse, delta);
  for (int tile = 0; tile < walk.tiles(); tile++) {
    float s[8][4], dp[8][4];
    dots(s, all, p.d);
    dots(dp, all, p.d);
    weigh(p, h, s, dp, h.first, tile * kBlock, lse, delta);
    put_weights(weights, dp);
    for (int at = 0; at < walk.rows(tile); at += kRun) {
      const float *const rows = all.next();
      if (4 * tx() < width) add_rows<W>(dq, weights + at, rows);
    }
  }
  UNROLL
  for (int r = 0; r < 8; r++) {
    const int query = h.first + ty() + 8 * r;
    if (query < p.lq)
      put_columns(p, p.out + h.row(p.lq, query) + h.head * p.d, dq[r], p.scale, h.col);
  }
}

// grad_keys computes columns of the gradients by a block of keys and their values. It takes 8·R
// queries at a time.
template <int W, int R>
TILE void grad_keys(const AttentionF32 &p) {
  SHARED(memory);
  constexpr int Queries = 8 * R;
  float *const buffers = (float *)memory, *const weights = buffers + 2 * kStage;
  float *const slopes = weights + Queries * kWeights;
  const Head h = Head::of_block(p, p.lk, W);
  const float *q = h.queries(p, p.q), *k = h.keys(p, p.k), *v = h.keys(p, p.v);
  const float *dout = h.queries(p, p.dout);
  const int steps = (p.d + kStep - 1) / kStep, width = min(W, p.d - h.col);
  const int begin = p.causal ? min(h.first, p.lq) : 0;  // earlier queries see none of the keys
  const Walk<Queries> walk{p.lq - begin, 2 * steps};

  auto all = stages(
      [&](int stage, float *to) {
        const int first = begin + stage / walk.per_tile() * Queries;
        const int step = stage % walk.per_tile();
        if (step < 2 * steps) {
          const bool second = step >= steps;
          const int col = (second ? step - steps : step) * kStep, n = min(kStep, p.d - col);
          fetch<Queries, kStep>(p, to, kPadded, second ? dout : q, h.width, first, p.lq, col, n);
          fetch<kBlock, kStep>(p, to + Queries * kPadded, kPadded, second ? v : k, h.width, h.first,
                               p.lk, col, n);
        } else {
          const int row = first + (step - 2 * steps) * kRun;
          fetch<kRun, W>(p, to, W, dout, h.width, row, p.lq, h.col, width);
          fetch<kRun, W>(p, to + kRun * W, W, q, h.width, row, p.lq, h.col, width);
        }
      },
      walk.stages(), buffers);
  all.begin();

  float dk[8][W / 64][4], dv[8][W / 64][4];
  clear<W>(dk);
  clear<W>(dv);
  for (int tile = 0; tile < walk.tiles(); tile++) {
    const int first = begin + tile * Queries;
    float s[R][4], dp[R][4], lse[R], delta[R];
    dots(s, all, p.d);
    dots(dp, all, p.d);
    statistics(p, h, first, lse, delta);
    weigh(p, h, s, dp, first, h.first, lse, delta);
    put_weights(weights, s);
    put_weights(slopes, dp);
    for (int at = 0; at < walk.rows(tile); at += kRun) {
      const float *const rows = all.next();
      if (4 * tx() >= width) continue;
      add_outer<W>(dv, weights + at * kWeights, rows);
      add_outer<W>(dk, slopes + at * kWeights, rows + kRun * W);
    }
  }
  UNROLL
  for (int r = 0; r < 8; r++) {
    const int key = h.first + 8 * ty() + r;
    if (key >= p.lk) continue;
    const u64 row = h.row(p.lk, key) + h.head * p.d;
    put_columns(p, p.out + row, dk[r], p.scale, h.col);
    put_columns(p, p.dv + row, dv[r], 1, h.col);
  }
}

// attention_delta computes delta from the result. A warp has a row of a head.
KERNEL(attention_delta_f32, AttentionF32, kAttentionThreads, 8) {
  const u64 row = (u64)blockIdx.x * (kAttentionThreads / 32) + threadIdx.x / 32;
  if (row >= p.rows) return;
  const u64 head = row / p.lq, n = head / p.heads;
  const u64 at = ((n * p.lq + row % p.lq) * p.heads + head % p.heads) * p.d;
  float sum = 0;
  for (int i = threadIdx.x % 32; i < p.d; i += 32) sum = fmaf(p.dout[at + i], p.out[at + i], sum);
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) p.delta[row] = sum;
}

// ATTENTION defines kernels for heads of up to so many columns, and more in several blocks. The
// registers allow for so many blocks of forward.
#define ATTENTION(width, R, blocks)                                                     \
  KERNEL(attention_forward_##width##_f32, AttentionF32, kAttentionThreads, blocks) {    \
    forward<width, false>(p);                                                           \
  }                                                                                     \
  KERNEL(attention_statistics_##width##_f32, AttentionF32, kAttentionThreads, blocks) { \
    forward<width, true>(p);                                                            \
  }                                                                                     \
  KERNEL(attention_grad_queries_##width##_f32, AttentionF32, kAttentionThreads, 2) {    \
    grad_queries<width>(p);                                                             \
  }                                                                                     \
  KERNEL(attention_grad_keys_##width##_f32, AttentionF32, kAttentionThreads, 2) {       \
    grad_keys<width, R>(p);                                                             \
  }

ATTENTION(64, 8, 3)
ATTENTION(128, 4, 2)
