// Group norm and layer norm, with SiLU behind them or without, and their gradients.
//
// x is N samples of P positions of C channels. The channels are cut into groups of neighbours. Each
// group of each sample has a mean μ and a variance σ², over its channels and all positions. With
// r = 1/√(σ²+ε) and x̂ = (x−μ)·r,
//
//	z = x̂·scale + shift           y = z, or SiLU(z)
//	dz = dy, or dy·SiLU'(z)        dx = r·(scale·dz − m1 − x̂·m2)
//	dshift = Σ dz                  dscale = Σ dz·x̂
//
// where m1 and m2 are the means over the group of scale·dz and of scale·dz·x̂.
//
// # Precision
//
// All arithmetic is float32. No sum of squares is subtracted from another: a few values have their
// moments about their own mean, and moments are merged (Chan, Golub and LeVeque 1983). Means are
// held as the sum of two float32, so that a mean that is far from 0 costs nothing. Long sums of
// gradients are compensated (Kahan 1965).
#include "tile.cuh"


// A Norm is what the kernels that cut samples into pieces get.
//
// A piece is some positions of a sample, and of these some channels, its tile. One block has a
// piece. Tiles end where groups end. Only if a group is too wide for a block it is cut into slices,
// and a tile is one of them. So span channels, of whole groups, are cut into slices tiles.
struct Norm {
  void *out;
  const void *x, *dy;
  const float *scale, *shift;
  float *stats;  // [3][samples,groups][chunks,slices]: a piece's mean, in two parts, Σ (x−mean)²
  float *sums;   // [2][samples,groups][chunks,slices], or [2][parts][channels]
  int samples, positions, channels, width;  // width is that of a group
  int tile, span, slices, tiles;            // tile and span are channels, and tiles those of a row
  int phases;        // so many threads share a column: each takes every phases-th position
  int rows, chunks;  // positions of a piece, and pieces that the positions are cut into
  int together;      // samples of a block that sums columns
  int vector;        // whether 16 bytes can be moved at once
  int silu;
  float eps;
};

constexpr int kNormThreads = 256;

// A Layer is what the kernels of layer norm get. Its samples are rows.
struct Layer {
  void *out;
  const void *x, *dy;
  const float *scale, *shift;
  float *stats;  // [3][rows]: the mean, in two parts, and r. If it is there, nothing else is wanted
  u64 rows;
  int channels, silu;
  float eps;
};

// A thread has so many positions of its column under way at once.
constexpr int kBatch = 4;

// A Values is neighbours in memory, as they lie there: 16 bytes, or a single value.
template <class T, int Width>
struct Values {
  Vector bits;

  TILE void load(const T *p) { bits = *(const Vector *)p; }
  TILE float operator[](int i) const {
    if (sizeof(T) == 4) return float_of(bits.word[i]);
    const u32 pair = bits.word[i / 2];
    return float_of(i % 2 ? pair & 0xffff0000 : pair << 16);
  }
};
template <class T>
struct Values<T, 1> {
  float value;

  TILE void load(const T *p) { value = get(p); }
  TILE float operator[](int) const { return value; }
};

TILE void store(float *p, const float (&v)[1]) { *p = v[0]; }
TILE void store(bf16 *p, const float (&v)[1]) { put(p, v[0]); }
TILE void store(float *p, const float (&v)[4]) { *(Vector *)p = packed(v); }
TILE void store(bf16 *p, const float (&v)[8]) { *(Vector *)p = packed(v); }

// A Batch is the rows first, first+step, … of a column, and zeros behind the last one.
template <class T, int Width>
struct Batch {
  Values<T, Width> rows[kBatch];

  TILE Batch(const T *column, int first, int step, int end, int channels) {
    UNROLL
    for (int b = 0; b < kBatch; b++) {
      const int row = first + b * step;
      rows[b] = {};
      if (row < end) rows[b].load(column + (u64)row * channels);
    }
  }
  TILE const Values<T, Width> &operator[](int b) const { return rows[b]; }
};

// fetch reads parameters of 4 or 8 neighbours.
template <int Width>
TILE void fetch(const float *p, float (&v)[Width]) {
  UNROLL
  for (int i = 0; i < Width; i += 4) {
    float four[4];
    unpack(*(const Vector *)(p + i), four);
    UNROLL
    for (int k = 0; k < 4; k++) v[i + k] = four[k];
  }
}

TILE float sigmoid(float z) { return 1 / (1 + expf(-z)); }

// silu_slope is the derivative of SiLU.
TILE float silu_slope(float z) {
  const float s = sigmoid(z);
  return s == 0 ? 0 : s * fmaf(z, 1 - s, 1);
}

// inverse_deviation is r of a variance, which may be a little below 0 by rounding. NaN stays NaN.
// An error of r would be that of all values of a group, so a step of Newton's method follows.
TILE float inverse_deviation(float variance, float eps) {
  const float v = (variance < 0 ? 0 : variance) + eps, r = 1 / sqrtf(v);
  const float hi = v * r, lo = fmaf(v, r, -hi);  // v·r
  const float better = fmaf(r / 2, fmaf(-lo, r, fmaf(-hi, r, 1)), r);
  return better == better ? better : r;  // v may be infinite
}

// A Sum is compensated: it is sum − excess.
struct Sum {
  float sum, excess;
  TILE void add(float x) {
    const float y = x - excess, t = sum + y;
    excess = (t - sum) - y;
    sum = t;
  }
  TILE float value() const { return sum - excess; }
};

// split_sum is a + b = hi + lo, exactly (Knuth's).
TILE void split_sum(float a, float b, float &hi, float &lo) {
  hi = a + b;
  const float c = hi - a;
  lo = (a - (hi - c)) + (b - c);
}

// A Piece is what a block works on, and which of it the thread does.
struct Piece {
  int sample, chunk, slice;
  int channel, channels;     // of the tile: the first, and how many
  int group, groups, width;  // of the tile: the first, how many, and how wide they are in it
  int begin, end;            // positions
  int column, phase;         // the thread's first channel, from that of the tile
  bool works;                // whether the thread has a column
};

// piece_of is the block's piece. Tiles come first, so that blocks that run side by side read whole
// rows. Kernels that follow each other go through memory in opposite directions: what the one has
// touched last is still in the cache when the other begins.
template <int Width>
TILE Piece piece_of(const Norm &p, bool backwards) {
  Piece at;
  int block = backwards ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
  const int tile = block % p.tiles;
  block /= p.tiles;
  at.chunk = block % p.chunks;
  at.sample = block / p.chunks * p.together;
  const int span = tile / p.slices * p.span;
  at.slice = tile % p.slices;
  at.channel = span + at.slice * p.tile;
  at.channels = min(p.tile, min(span + p.span, p.channels) - at.channel);
  at.group = at.channel / p.width;
  at.width = min(p.width, at.channels);
  at.groups = at.channels / at.width;
  at.begin = at.chunk * p.rows;
  at.end = min(at.begin + p.rows, p.positions);
  const int columns = p.tile / Width;
  at.column = threadIdx.x % columns * Width;
  at.phase = threadIdx.x / columns;
  at.works = at.phase < p.phases && at.column < at.channels;
  return at;
}

// column_of is the thread's column of x of a sample.
template <class T>
TILE T *column_of(const Norm &p, const Piece &at, T *x, int sample) {
  return x + (u64)sample * p.positions * p.channels + at.channel + at.column;
}

// A Team is so many lanes of a warp for each of so many groups, that the block has all groups under
// way at once if it can.
struct Team {
  int lanes, lane, team, teams;
  TILE Team(int groups) {
    for (lanes = 32; lanes > 1 && lanes * groups > (int)blockDim.x;) lanes /= 2;
    lane = threadIdx.x % lanes, team = threadIdx.x / lanes, teams = blockDim.x / lanes;
  }
  // sum is that of x over the lanes of the team. All threads of the block are here.
  TILE float sum(float x) const {
    for (int by = lanes / 2; by > 0; by /= 2) x += shuffle_xor(x, by);
    return x;
  }
};

// group_sums adds up the items [phases,channels] of each group of the tile: to[g·stride] is the sum
// of group g. The items are shared, and the block has passed a barrier since they were written.
TILE void group_sums(float *to, u64 stride, const float *items, int phases, int channels,
                     int width, int groups) {
  const Team t(groups);
  for (int first = 0; first < groups; first += t.teams) {
    const int g = first + t.team;
    Sum of{0, 0};
    if (g < groups)
      for (int i = t.lane; i < phases * width; i += t.lanes)
        of.add(items[i / width * channels + g * width + i % width]);
    const float sum = t.sum(of.value());
    if (g < groups && t.lane == 0) to[g * stride] = sum;
  }
}

// pieces_of is how many pieces a group of a sample is cut into. partial is where what is known of
// the block's piece of its first group stands in stats and sums, partials how many values there are
// of each kind.
TILE int pieces_of(const Norm &p) { return p.chunks * p.slices; }
TILE u64 partials(const Norm &p) {
  return (u64)p.samples * (p.channels / p.width) * pieces_of(p);
}
TILE u64 first_partial(const Norm &p, const Piece &at, int sample) {
  return ((u64)sample * (p.channels / p.width) + at.group) * pieces_of(p);
}

// group_size is how many values a group of a sample has.
TILE float group_size(const Norm &p) { return (float)((u64)p.positions * p.width); }

// A Statistics is shared: of each group of the tile the mean, in two parts, and r.
struct Statistics {
  float *mean, *rest, *rstd;
};

// combine merges the moments of the pieces of each group of the tile. Every block that needs them
// does so, in the same order.
TILE void combine(const Norm &p, const Piece &at, int sample, const Statistics &to) {
  const Team t(at.groups);
  const int pieces = pieces_of(p);
  const u64 all = partials(p);
  const float size = group_size(p);
  for (int first = 0; first < at.groups; first += t.teams) {
    const int g = first + t.team;
    const bool has = g < at.groups;
    const float *of = p.stats + first_partial(p, at, sample) + (u64)(has ? g : 0) * pieces;
    const float pivot = of[0];
    // Values are counted by rows and columns.
    auto count = [&](int i) {
      const int rows = min(p.rows, p.positions - i / p.slices * p.rows);
      const int columns = min(p.width, p.slices == 1 ? p.width : p.tile);
      return (float)rows * (float)min(columns, p.width - i % p.slices * p.tile);
    };
    float sum = 0;
    if (has)
      for (int i = t.lane; i < pieces; i += t.lanes)
        sum = fmaf(count(i), (of[i] - pivot) + of[all + i], sum);
    const float mean = t.sum(sum) / size;
    float squares = 0;
    if (has)
      for (int i = t.lane; i < pieces; i += t.lanes) {
        const float d = ((of[i] - pivot) + of[all + i]) - mean;
        squares += fmaf(count(i) * d, d, of[2 * all + i]);
      }
    squares = t.sum(squares);
    if (has && t.lane == 0) {
      split_sum(pivot, mean, to.mean[g], to.rest[g]);
      to.rstd[g] = inverse_deviation(squares / size, p.eps);
    }
  }
}

// combine_sums is the means over each group of the tile of scale·dz and of scale·dz·x̂.
TILE void combine_sums(const Norm &p, const Piece &at, float *m1, float *m2) {
  const Team t(at.groups);
  const int pieces = pieces_of(p);
  const float size = group_size(p);
  for (int first = 0; first < at.groups; first += t.teams) {
    const int g = first + t.team;
    const bool has = g < at.groups;
    const float *of = p.sums + first_partial(p, at, at.sample) + (u64)g * pieces;
    float s1 = 0, s2 = 0;
    if (has)
      for (int i = t.lane; i < pieces; i += t.lanes) s1 += of[i], s2 += of[partials(p) + i];
    s1 = t.sum(s1), s2 = t.sum(s2);
    if (has && t.lane == 0) m1[g] = s1 / size, m2[g] = s2 / size;
  }
}

// A Moments is those of a thread's rows, for each of its channels: mean is from the pivot, which is
// the first row.
template <int Width>
struct Moments {
  float count = 0;
  float pivot[Width], mean[Width], squares[Width];

  // add merges the moments of the rows of a batch. All of them are there, or the first n.
  template <bool All, class T>
  TILE void add(const Batch<T, Width> &v, int n) {
    if (All) n = kBatch;
    const float old = count;
    count += n;
    const float part = n / count, both = old * part, each = 1 / (float)n;
    UNROLL
    for (int i = 0; i < Width; i++) {
      float d[kBatch], sum = 0, squares_ = 0;
      UNROLL
      for (int b = 0; b < kBatch; b++) {
        d[b] = All || b < n ? v[b][i] - pivot[i] : 0;
        sum += d[b];
      }
      const float m = sum * each;
      UNROLL
      for (int b = 0; b < kBatch; b++) {
        const float e = All || b < n ? d[b] - m : 0;
        squares_ = fmaf(e, e, squares_);
      }
      const float step = m - mean[i];
      mean[i] = fmaf(step, part, mean[i]);
      squares[i] += fmaf(step * step, both, squares_);
    }
  }
};

// moments finds the moments of each piece. A thread goes down one column. Then the block merges: it
// needs the mean of all its threads before it can add up squares about it.
template <class T, int Width>
TILE void moments(const Norm &p) {
  SHARED(memory);
  const Piece at = piece_of<Width>(p, false);
  float *items = (float *)memory;                 // [phases,tile]
  float *pivots = items + p.phases * p.tile;      // [groups]
  float *sums = pivots + p.tile / at.width;       // [groups]
  const float size = (float)(at.end - at.begin) * (float)at.width;

  Moments<Width> m;
  UNROLL
  for (int i = 0; i < Width; i++) m.pivot[i] = m.mean[i] = m.squares[i] = 0;
  if (at.works) {
    const T *x = column_of(p, at, (const T *)p.x, at.sample);
    const int step = p.phases;
    int row = at.begin + at.phase;
    for (bool first = true; row < at.end; row += kBatch * step, first = false) {
      const Batch<T, Width> v(x, row, step, at.end, p.channels);
      if (first) {
        UNROLL
        for (int i = 0; i < Width; i++) m.pivot[i] = v[0][i];
      }
      if (row + (kBatch - 1) * step < at.end)
        m.template add<true>(v, kBatch);
      else
        m.template add<false>(v, (at.end - row + step - 1) / step);
    }
    if (at.phase == 0) {
      UNROLL
      for (int i = 0; i < Width; i++)
        if ((at.column + i) % at.width == 0)
          pivots[(at.column + i) / at.width] = m.pivot[i] + m.mean[i];
    }
  }
  sync_block();

  float *item = items + at.phase * at.channels + at.column;
  if (at.works) {
    UNROLL
    for (int i = 0; i < Width; i++) {
      m.mean[i] += m.pivot[i] - pivots[(at.column + i) / at.width];
      item[i] = m.count * m.mean[i];
    }
  }
  sync_block();
  group_sums(sums, 1, items, p.phases, at.channels, at.width, at.groups);
  sync_block();
  if (at.works) {
    UNROLL
    for (int i = 0; i < Width; i++) {
      const float d = m.mean[i] - sums[(at.column + i) / at.width] / size;
      item[i] = fmaf(m.count * d, d, m.squares[i]);
    }
  }
  sync_block();

  const int pieces = pieces_of(p);
  float *to = p.stats + first_partial(p, at, at.sample) + at.chunk * p.slices + at.slice;
  for (int g = threadIdx.x; g < at.groups; g += blockDim.x) {
    float hi, lo;
    split_sum(pivots[g], sums[g] / size, hi, lo);
    to[(u64)g * pieces] = hi, to[partials(p) + (u64)g * pieces] = lo;
  }
  group_sums(to + 2 * partials(p), pieces, items, p.phases, at.channels, at.width, at.groups);
}

// A Memory is the shared memory of a block that uses statistics.
struct Memory {
  Statistics groups;
  float *m1, *m2;  // [groups], of the gradient
  float *mean, *slope, *start, *first, *second;  // [tile]
  float *items, *others;  // [phases,tile]

  TILE Memory(const Norm &p, const Piece &at, unsigned char *memory) {
    const int count = p.tile / at.width;
    float *m = (float *)memory;
    mean = m, slope = m + p.tile, start = m + 2 * p.tile;
    first = m + 3 * p.tile, second = m + 4 * p.tile;
    m += 5 * p.tile;
    groups = {m, m + count, m + 2 * count};
    m1 = m + 3 * count, m2 = m + 4 * count;
    items = m + 5 * count, others = items + p.phases * p.tile;
  }

  // spread writes the numbers of each channel of the tile: z = (x−mean)·slope + start. more(c, g)
  // writes first and second of channel c of group g. The block has passed a barrier since the
  // groups were combined, and passes one.
  template <class F>
  TILE void spread(const Norm &p, const Piece &at, F more) const {
    for (int c = threadIdx.x; c < at.channels; c += blockDim.x) {
      const int g = c / at.width;
      mean[c] = groups.mean[g];
      slope[c] = groups.rstd[g] * p.scale[at.channel + c];
      start[c] = fmaf(-groups.rest[g], slope[c], p.shift[at.channel + c]);
      more(c, g);
    }
    sync_block();
  }
};

// A Channels is what z needs, of the channels of a thread.
template <int Width>
struct Channels {
  float mean[Width], slope[Width], start[Width];

  TILE Channels(const Memory &m, int column) {
    UNROLL
    for (int i = 0; i < Width; i++)
      mean[i] = m.mean[column + i], slope[i] = m.slope[column + i], start[i] = m.start[column + i];
  }

  TILE float z(int i, float x) const { return fmaf(x - mean[i], slope[i], start[i]); }
};

// apply writes y of a piece. A thread goes down one column.
template <class T, int Width>
TILE void apply(const Norm &p) {
  SHARED(memory);
  const Piece at = piece_of<Width>(p, true);
  const Memory m(p, at, memory);
  combine(p, at, at.sample, m.groups);
  sync_block();
  m.spread(p, at, [](int, int) {});
  if (!at.works) return;
  const Channels<Width> channels(m, at.column);
  const T *x = column_of(p, at, (const T *)p.x, at.sample);
  T *y = column_of(p, at, (T *)p.out, at.sample);
  const int step = p.phases;
  for (int row = at.begin + at.phase; row < at.end; row += kBatch * step) {
    const Batch<T, Width> v(x, row, step, at.end, p.channels);
    UNROLL
    for (int b = 0; b < kBatch; b++) {
      float z[Width];
      UNROLL
      for (int i = 0; i < Width; i++) z[i] = channels.z(i, v[b][i]);
      if (p.silu) {
        UNROLL
        for (int i = 0; i < Width; i++) z[i] *= sigmoid(z[i]);
      }
      if (row + b * step < at.end) store(y + (u64)(row + b * step) * p.channels, z);
    }
  }
}

// gradient_sums is, for each channel of a thread and the thread's rows of a sample, first = Σ dz
// and second = Σ dz·x̂. Each batch is added up by itself first. All threads of the block are here.
template <class T, int Width>
TILE void gradient_sums(const Norm &p, const Piece &at, int sample, const Memory &m,
                        float (&first)[Width], float (&second)[Width]) {
  combine(p, at, sample, m.groups);
  sync_block();
  m.spread(p, at, [&](int c, int g) {
    m.first[c] = -m.groups.rest[g] * m.groups.rstd[g], m.second[c] = m.groups.rstd[g];
  });
  if (!at.works) return;
  const Channels<Width> channels(m, at.column);
  const T *x = column_of(p, at, (const T *)p.x, sample);
  const T *dy = column_of(p, at, (const T *)p.dy, sample);
  Sum one[Width], two[Width];  // of dz and of dz·(x−mean)
  UNROLL
  for (int i = 0; i < Width; i++) one[i] = two[i] = {0, 0};
  const int step = p.phases;
  for (int row = at.begin + at.phase; row < at.end; row += kBatch * step) {
    const Batch<T, Width> v(x, row, step, at.end, p.channels), g(dy, row, step, at.end, p.channels);
    UNROLL
    for (int i = 0; i < Width; i++) {
      float dz[kBatch], a = 0, b = 0;
      UNROLL
      for (int k = 0; k < kBatch; k++) dz[k] = g[k][i];
      if (p.silu) {
        UNROLL
        for (int k = 0; k < kBatch; k++) dz[k] *= silu_slope(channels.z(i, v[k][i]));
      }
      UNROLL
      for (int k = 0; k < kBatch; k++) {
        a += dz[k];
        b = fmaf(dz[k], v[k][i] - channels.mean[i], b);
      }
      one[i].add(a);
      two[i].add(b);
    }
  }
  UNROLL
  for (int i = 0; i < Width; i++) {
    first[i] = one[i].value();
    second[i] = two[i].value() * m.second[at.column + i];
    second[i] = fmaf(first[i], m.first[at.column + i], second[i]);
  }
}

// group_gradients adds up scale·dz and scale·dz·x̂ of each group of a piece.
template <class T, int Width>
TILE void group_gradients(const Norm &p) {
  SHARED(memory);
  const Piece at = piece_of<Width>(p, true);
  const Memory m(p, at, memory);
  float first[Width], second[Width];
  gradient_sums<T, Width>(p, at, at.sample, m, first, second);
  if (at.works) {
    const int item = at.phase * at.channels + at.column;
    UNROLL
    for (int i = 0; i < Width; i++) {
      const float scale = p.scale[at.channel + at.column + i];
      m.items[item + i] = scale * first[i], m.others[item + i] = scale * second[i];
    }
  }
  sync_block();
  const int pieces = pieces_of(p);
  float *to = p.sums + first_partial(p, at, at.sample) + at.chunk * p.slices + at.slice;
  group_sums(to, pieces, m.items, p.phases, at.channels, at.width, at.groups);
  group_sums(to + partials(p), pieces, m.others, p.phases, at.channels, at.width, at.groups);
}

// write_columns adds up the items [2][phases,tile] of each channel. They are part of the sums.
TILE void write_columns(const Norm &p, const Piece &at, const float *items, const float *others) {
  const u64 parts = (u64)p.chunks * ((p.samples + p.together - 1) / p.together);
  const u64 part = (u64)at.sample / p.together * p.chunks + at.chunk;
  float *to = p.sums + part * p.channels + at.channel;
  group_sums(to, 1, items, p.phases, at.channels, 1, at.channels);
  group_sums(to + parts * p.channels, 1, others, p.phases, at.channels, 1, at.channels);
}

// column_gradients adds up dz and dz·x̂ of each channel, over a piece of each of several samples. A
// thread keeps its sums in shared memory from one sample to the next.
template <class T, int Width>
TILE void column_gradients(const Norm &p) {
  SHARED(memory);
  const Piece at = piece_of<Width>(p, true);
  const Memory m(p, at, memory);
  const int item = at.phase * at.channels + at.column;
  const int end = min(at.sample + p.together, p.samples);
  for (int sample = at.sample; sample < end; sample++) {
    float first[Width], second[Width];
    gradient_sums<T, Width>(p, at, sample, m, first, second);
    if (at.works) {
      UNROLL
      for (int i = 0; i < Width; i++) {
        if (sample > at.sample) first[i] += m.items[item + i], second[i] += m.others[item + i];
        m.items[item + i] = first[i], m.others[item + i] = second[i];
      }
    }
    sync_block();
  }
  write_columns(p, at, m.items, m.others);
}

// input_gradient writes dx of a piece. A thread goes down one column.
template <class T, int Width>
TILE void input_gradient(const Norm &p) {
  SHARED(memory);
  const Piece at = piece_of<Width>(p, false);
  const Memory m(p, at, memory);
  combine(p, at, at.sample, m.groups);
  combine_sums(p, at, m.m1, m.m2);
  sync_block();
  m.spread(p, at, [&](int c, int g) {
    const float r = m.groups.rstd[g], b = -r * r * m.m2[g];
    m.first[c] = b, m.second[c] = -fmaf(m.groups.rest[g], b, r * m.m1[g]);
  });
  if (!at.works) return;
  const Channels<Width> channels(m, at.column);
  float b[Width], d[Width];  // dx = slope·dz + (x−mean)·b + d
  UNROLL
  for (int i = 0; i < Width; i++) b[i] = m.first[at.column + i], d[i] = m.second[at.column + i];
  const T *x = column_of(p, at, (const T *)p.x, at.sample);
  const T *dy = column_of(p, at, (const T *)p.dy, at.sample);
  T *dx = column_of(p, at, (T *)p.out, at.sample);
  const int step = p.phases;
  for (int row = at.begin + at.phase; row < at.end; row += kBatch * step) {
    const Batch<T, Width> v(x, row, step, at.end, p.channels), g(dy, row, step, at.end, p.channels);
    UNROLL
    for (int k = 0; k < kBatch; k++) {
      float dz[Width];
      UNROLL
      for (int i = 0; i < Width; i++) dz[i] = g[k][i];
      if (p.silu) {
        UNROLL
        for (int i = 0; i < Width; i++) dz[i] *= silu_slope(channels.z(i, v[k][i]));
      }
      UNROLL
      for (int i = 0; i < Width; i++) {
        const float rest = fmaf(v[k][i] - channels.mean[i], b[i], d[i]);
        dz[i] = fmaf(channels.slope[i], dz[i], rest);
      }
      if (row + k * step < at.end) store(dx + (u64)(row + k * step) * p.channels, dz);
    }
  }
}

// A Row is a row that a team of threads holds in registers: each has every Team-th vector of it, up
// to K. Width is the values of a vector.
template <class T, int Team, int K>
struct Row {
  static constexpr int Width = 16 / sizeof(T);
  Vector vectors[K];
  int lane, count;  // count is that of the row's vectors

  TILE Row(const void *x, u64 row, int channels) {
    lane = threadIdx.x % Team, count = channels / Width;
    UNROLL
    for (int k = 0; k < K; k++)
      if (has(k)) vectors[k] = ((const Vector *)x)[row * count + at(k)];
  }

  TILE int at(int k) const { return k * Team + lane; }
  TILE bool has(int k) const { return at(k) < count; }
};

// team_sum is the sum of x over the threads that have a row: a warp, or a block.
template <int Team>
TILE float team_sum(float x, float *memory) {
  if constexpr (Team == 32)
    return warp_sum(x);
  else
    return block_sum<Team>(x, memory);
}

// A RowStatistics is a row's mean, in two parts, and r.
struct RowStatistics {
  float mean, rest, rstd;
};

// statistics_of corrects the mean: what it is beside the true one by rounding shows in the sum of
// the differences from it.
template <class T, int Team, int K>
TILE RowStatistics statistics_of(const Layer &p, const Row<T, Team, K> &x, float *memory) {
  constexpr int Width = Row<T, Team, K>::Width;
  const float size = (float)p.channels;
  float v[Width], sum = 0, squares = 0;
  UNROLL
  for (int k = 0; k < K; k++)
    if (x.has(k)) {
      unpack(x.vectors[k], v);
      UNROLL
      for (int i = 0; i < Width; i++) sum += v[i];
    }
  const float mean = team_sum<Team>(sum, memory) / size;
  sum = 0;
  UNROLL
  for (int k = 0; k < K; k++)
    if (x.has(k)) {
      unpack(x.vectors[k], v);
      UNROLL
      for (int i = 0; i < Width; i++) {
        const float d = v[i] - mean;
        sum += d;
        squares = fmaf(d, d, squares);
      }
    }
  sum = team_sum<Team>(sum, memory);
  squares = team_sum<Team>(squares, memory);
  const float rest = sum / size;
  return {mean, rest, inverse_deviation(fmaf(-sum, rest, squares) / size, p.eps)};
}

// row_of is the row of the thread's team.
template <int Team>
TILE u64 row_of() {
  return (u64)blockIdx.x * (blockDim.x / Team) + threadIdx.x / Team;
}

// layer_norm writes y, or the statistics, of a row that is in registers.
template <class T, int Team, int K>
TILE void layer_norm(const Layer &p) {
  SHARED(memory);
  constexpr int Width = Row<T, Team, K>::Width;
  const u64 row = row_of<Team>();
  if (row >= p.rows) return;
  const Row<T, Team, K> x(p.x, row, p.channels);
  const RowStatistics s = statistics_of(p, x, (float *)memory);
  if (p.stats) {
    if (x.lane == 0)
      p.stats[row] = s.mean, p.stats[p.rows + row] = s.rest, p.stats[2 * p.rows + row] = s.rstd;
    return;
  }
  UNROLL
  for (int k = 0; k < K; k++)
    if (x.has(k)) {
      float v[Width], scale[Width], shift[Width];
      unpack(x.vectors[k], v);
      fetch(p.scale + x.at(k) * Width, scale);
      fetch(p.shift + x.at(k) * Width, shift);
      UNROLL
      for (int i = 0; i < Width; i++) {
        const float slope = s.rstd * scale[i];
        v[i] = fmaf(v[i] - s.mean, slope, fmaf(-s.rest, slope, shift[i]));
      }
      if (p.silu) {
        UNROLL
        for (int i = 0; i < Width; i++) v[i] *= sigmoid(v[i]);
      }
      ((Vector *)p.out)[row * x.count + x.at(k)] = packed(v);
    }
}

// layer_norm_gradient writes dx of a row. x and dy are in registers.
template <class T, int Team, int K>
TILE void layer_norm_gradient(const Layer &p) {
  SHARED(memory);
  constexpr int Width = Row<T, Team, K>::Width;
  const u64 row = row_of<Team>();
  if (row >= p.rows) return;
  const Row<T, Team, K> x(p.x, row, p.channels), dy(p.dy, row, p.channels);
  const RowStatistics s = statistics_of(p, x, (float *)memory);

  // differences is x − mean, but for the rest, and slopes is scale·dz.
  auto differences_and_slopes = [&](int k, float(&d)[Width], float(&slopes)[Width]) {
    float scale[Width];
    unpack(x.vectors[k], d);
    unpack(dy.vectors[k], slopes);
    fetch(p.scale + x.at(k) * Width, scale);
    UNROLL
    for (int i = 0; i < Width; i++) d[i] -= s.mean;
    if (p.silu) {
      float shift[Width];
      fetch(p.shift + x.at(k) * Width, shift);
      UNROLL
      for (int i = 0; i < Width; i++) {
        const float slope = s.rstd * scale[i];
        slopes[i] *= silu_slope(fmaf(d[i], slope, fmaf(-s.rest, slope, shift[i])));
      }
    }
    UNROLL
    for (int i = 0; i < Width; i++) slopes[i] *= scale[i];
  };

  float m1 = 0, m2 = 0;
  UNROLL
  for (int k = 0; k < K; k++)
    if (x.has(k)) {
      float d[Width], slopes[Width];
      differences_and_slopes(k, d, slopes);
      UNROLL
      for (int i = 0; i < Width; i++) {
        m1 += slopes[i];
        m2 = fmaf(slopes[i], d[i] - s.rest, m2);
      }
    }
  const float size = (float)p.channels;
  m1 = team_sum<Team>(m1, (float *)memory) / size;
  m2 = team_sum<Team>(m2, (float *)memory) / size * s.rstd;
  const float b = -s.rstd * s.rstd * m2, start = -fmaf(s.rest, b, s.rstd * m1);
  UNROLL
  for (int k = 0; k < K; k++)
    if (x.has(k)) {
      float d[Width], slopes[Width];
      differences_and_slopes(k, d, slopes);
      UNROLL
      for (int i = 0; i < Width; i++) d[i] = fmaf(s.rstd, slopes[i], fmaf(d[i], b, start));
      ((Vector *)p.out)[row * x.count + x.at(k)] = packed(d);
    }
}

// row_gradients adds up dz and dz·x̂ of each channel over some rows of a layer norm. Its statistics
// are in p.stats. To the cut rows are positions of one sample.
template <class T, int Width>
TILE void row_gradients(const Norm &p) {
  SHARED(memory);
  const Piece at = piece_of<Width>(p, true);
  float *items = (float *)memory;  // [2][phases,tile]
  float *others = items + p.phases * p.tile;
  if (at.works) {
    const T *x = column_of(p, at, (const T *)p.x, 0), *dy = column_of(p, at, (const T *)p.dy, 0);
    float scale[Width], shift[Width];
    UNROLL
    for (int i = 0; i < Width; i++) {
      scale[i] = p.scale[at.channel + at.column + i];
      shift[i] = p.shift[at.channel + at.column + i];
    }
    Sum one[Width], two[Width];
    UNROLL
    for (int i = 0; i < Width; i++) one[i] = two[i] = {0, 0};
    const int step = p.phases;
    for (int row = at.begin + at.phase; row < at.end; row += kBatch * step) {
      const Batch<T, Width> v(x, row, step, at.end, p.channels);
      const Batch<T, Width> g(dy, row, step, at.end, p.channels);
      float mean[kBatch], rstd[kBatch], start[kBatch];  // x̂ = (x−mean)·rstd + start
      UNROLL
      for (int b = 0; b < kBatch; b++) {
        const float *of = p.stats + min(row + b * step, at.end - 1);
        mean[b] = of[0], rstd[b] = of[2 * (u64)p.positions];
        start[b] = -of[p.positions] * rstd[b];
      }
      UNROLL
      for (int i = 0; i < Width; i++) {
        float dz[kBatch], normal[kBatch], first = 0, second = 0;
        UNROLL
        for (int b = 0; b < kBatch; b++) {
          dz[b] = g[b][i];
          normal[b] = fmaf(v[b][i] - mean[b], rstd[b], start[b]);
        }
        if (p.silu) {
          UNROLL
          for (int b = 0; b < kBatch; b++)
            dz[b] *= silu_slope(fmaf(normal[b], scale[i], shift[i]));
        }
        UNROLL
        for (int b = 0; b < kBatch; b++) {
          first += dz[b];
          second = fmaf(dz[b], normal[b], second);
        }
        one[i].add(first);
        two[i].add(second);
      }
    }
    const int item = at.phase * at.channels + at.column;
    UNROLL
    for (int i = 0; i < Width; i++) {
      items[item + i] = one[i].value(), others[item + i] = two[i].value();
    }
  }
  sync_block();
  write_columns(p, at, items, others);
}

// A ParamGradient is dshift and dscale, and the sums [2][parts][channels] that they are made of.
struct ParamGradient {
  float *dshift, *dscale;
  const float *sums;
  int parts, channels;
};

constexpr int kParamColumns = 32, kParamPhases = 8;


// NORM defines the kernels for float32 and bf16 of what is called body, for 16 bytes at a time and
// for single values.
#define NORM(name, body, blocks)                    \
  KERNEL(name##_f32, Norm, kNormThreads, blocks) {  \
    if (p.vector)                                   \
      body<float, 4>(p);                            \
    else                                            \
      body<float, 1>(p);                            \
  }                                                 \
  KERNEL(name##_bf16, Norm, kNormThreads, blocks) { \
    if (p.vector)                                   \
      body<bf16, 8>(p);                             \
    else                                            \
      body<bf16, 1>(p);                             \
  }

NORM(norm_moments, moments, 3)
NORM(norm_apply, apply, 3)
NORM(norm_group_gradients, group_gradients, 2)
NORM(norm_column_gradients, column_gradients, 2)
NORM(norm_input_gradient, input_gradient, 2)
KERNEL(norm_row_gradients_f32, Norm, kNormThreads, 2) { row_gradients<float, 4>(p); }
KERNEL(norm_row_gradients_bf16, Norm, kNormThreads, 2) { row_gradients<bf16, 8>(p); }

// LAYER_NORM defines the kernels of layer norm for rows of up to team·k vectors.
#define LAYER_NORM(team, k)                                                                    \
  KERNEL(layer_norm_##team##x##k##_f32, Layer, team == 32 ? 128 : team, 1) {                   \
    layer_norm<float, team, k>(p);                                                             \
  }                                                                                            \
  KERNEL(layer_norm_##team##x##k##_bf16, Layer, team == 32 ? 128 : team, 1) {                  \
    layer_norm<bf16, team, k>(p);                                                              \
  }                                                                                            \
  KERNEL(layer_norm_gradient_##team##x##k##_f32, Layer, team == 32 ? 128 : team, 1) {          \
    layer_norm_gradient<float, team, k>(p);                                                    \
  }                                                                                            \
  KERNEL(layer_norm_gradient_##team##x##k##_bf16, Layer, team == 32 ? 128 : team, 1) {         \
    layer_norm_gradient<bf16, team, k>(p);                                                     \
  }

LAYER_NORM(32, 2)
LAYER_NORM(32, 4)
LAYER_NORM(32, 8)
LAYER_NORM(256, 2)
LAYER_NORM(256, 4)
LAYER_NORM(256, 8)

// norm_param_gradient adds up parts. A block has 32 channels of one of the two. Each of its warps
// takes every 8th part.
KERNEL(norm_param_gradient, ParamGradient, kParamColumns *kParamPhases, 1) {
  SHARED(columns);
  float *items = (float *)columns;  // [phases,columns]
  const int column = threadIdx.x % kParamColumns, phase = threadIdx.x / kParamColumns;
  const int channel = blockIdx.x * kParamColumns + column;
  Sum sum{0, 0};
  if (channel < p.channels)
    for (int i = phase; i < p.parts; i += kParamPhases)
      sum.add(p.sums[((u64)blockIdx.y * p.parts + i) * p.channels + channel]);
  items[threadIdx.x] = sum.value();
  sync_block();
  if (phase > 0 || channel >= p.channels) return;
  Sum all{0, 0};
  for (int i = 0; i < kParamPhases; i++) all.add(items[i * kParamColumns + column]);
  (blockIdx.y ? p.dscale : p.dshift)[channel] = all.value();
}
