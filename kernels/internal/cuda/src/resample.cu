// Images that are enlarged by repeating pixels or shrunk to the means of windows, with gradients.
#include "tile.cuh"

constexpr int kResampleThreads = 256;

// A Resample makes images dst [n,height,width,channels] of images src, of from_height and
// from_width.
struct Resample {
  void *dst;
  const void *src;
  int height, width, from_height, from_width, channels;
  int window;   // of the average
  int threads;  // that share a pixel, each of which has some channels
  int aligned;  // whether a thread has 16 bytes of a pixel, and not one value
};

// A Channels is some channels of one pixel of dst, and where they are made from.
template <class T, int W>
struct Channels {
  const Resample &p;
  const T *src;   // these channels of pixel 0,0 of the image of src
  int i, j;       // the pixel of dst
  float x[W] = {};  // what it gets

  // add adds pixel u,v of src.
  TILE void add(int u, int v) {
    const T *at = src + ((u64)u * p.from_width + v) * p.channels;
    if constexpr (W == 1) {
      x[0] += get(at);
    } else {
      float y[W];
      unpack(*(const Vector *)at, y);
      UNROLL
      for (int k = 0; k < W; k++) x[k] += y[k];
    }
  }
  TILE void scale(float a) {
    UNROLL
    for (int k = 0; k < W; k++) x[k] *= a;
  }
  TILE void store(T *to) const {
    if constexpr (W == 1)
      put(to, x[0]);
    else
      *(Vector *)to = packed(x);
  }
};

// resample makes a row of pixels, or a piece of it, with a block. Threads that are side by side
// have channels side by side, and height groups of them have a pixel each. f makes the channels of
// one pixel.
template <class T, int W, class F>
TILE void resample(const Resample &p, F f) {
  const int i = blockIdx.x % p.height, height = blockDim.x / p.threads;
  const u64 image = blockIdx.x / p.height;
  const T *src = (const T *)p.src + image * p.from_height * p.from_width * p.channels;
  T *dst = (T *)p.dst + (u64)blockIdx.x * p.width * p.channels;
  for (int j = blockIdx.y * height + threadIdx.x / p.threads; j < p.width; j += gridDim.y * height)
    for (int k = threadIdx.x % p.threads * W; k < p.channels; k += p.threads * W) {
      Channels<T, W> c{p, src + k, i, j};
      f(c);
      c.store(dst + (u64)j * p.channels + k);
    }
}

// A Nearest makes a pixel that is a copy of the nearest one of src.
struct Nearest {
  template <class C>
  TILE void operator()(C &c) const {
    const Resample &p = c.p;
    c.add(c.i * p.from_height / p.height, c.j * p.from_width / p.width);
  }
};

// first_copy is the first of a number of copies that is one of pixel i: ⌈i·copies/pixels⌉.
TILE int first_copy(int i, int copies, int pixels) { return (i * copies + pixels - 1) / pixels; }

// A NearestGrad adds up the copies of a pixel. src has the gradients of the copies.
struct NearestGrad {
  template <class C>
  TILE void operator()(C &c) const {
    const Resample &p = c.p;
    const int last_row = first_copy(c.i + 1, p.from_height, p.height);
    const int last_column = first_copy(c.j + 1, p.from_width, p.width);
    const int first_column = first_copy(c.j, p.from_width, p.width);
    for (int u = first_copy(c.i, p.from_height, p.height); u < last_row; u++)
      for (int v = first_column; v < last_column; v++) c.add(u, v);
  }
};

// An Average makes the mean of a window.
struct Average {
  template <class C>
  TILE void operator()(C &c) const {
    const int k = c.p.window;
    for (int u = 0; u < k; u++)
      for (int v = 0; v < k; v++) c.add(c.i * k + u, c.j * k + v);
    c.scale(1 / (float)(k * k));
  }
};

// An AverageGrad makes the gradient of a pixel, which is zero in no window.
struct AverageGrad {
  template <class C>
  TILE void operator()(C &c) const {
    const int k = c.p.window;
    if (c.i / k >= c.p.from_height || c.j / k >= c.p.from_width) return;
    c.add(c.i / k, c.j / k);
    c.scale(1 / (float)(k * k));
  }
};

// RESAMPLE defines a kernel for float32 and one for bf16. Make makes the channels of a pixel.
#define RESAMPLE(name, Make)                          \
  KERNEL(name##_f32, Resample, kResampleThreads, 4) {  \
    if (p.aligned)                                    \
      resample<float, 4>(p, Make());                  \
    else                                              \
      resample<float, 1>(p, Make());                  \
  }                                                   \
  KERNEL(name##_bf16, Resample, kResampleThreads, 4) { \
    if (p.aligned)                                    \
      resample<bf16, 8>(p, Make());                   \
    else                                              \
      resample<bf16, 1>(p, Make());                   \
  }

RESAMPLE(nearest, Nearest)
RESAMPLE(nearest_grad, NearestGrad)
RESAMPLE(average, Average)
RESAMPLE(average_grad, AverageGrad)
