// emu.h runs CUDA kernels on a CPU, to test them where there is no GPU.
//
// A thread of a block is a fiber. The blocks of a grid are spread over OS threads. A fiber runs
// until it must wait for others, so the threads of a block are as far apart as its barriers let
// them be. The launch's order says who goes first: 0 is first come, first served, 1 is last come,
// first served, and others seed a random order. What lacks a barrier then reads poison or stale
// values.
//
// Under -fsanitize=thread the sanitizer takes fibers for threads. Barriers of a block and of a warp
// are all that orders them. Under -fsanitize=address it sees accesses outside of the memory that
// the launch names.
//
// It is for x86-64 and g++. EMU_THREADS is the number of OS threads.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#if !defined(__x86_64__)
#error "the emulation of CUDA kernels switches stacks by x86-64 assembly"
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define EMU_RELEASE(p) __tsan_release(p)
#define EMU_ACQUIRE(p) __tsan_acquire(p)
#else
#define EMU_RELEASE(p) (void)(p)
#define EMU_ACQUIRE(p) (void)(p)
#endif

// EMU_RAW is for functions that touch what fibers share. The sanitizers do not look at them, and
// they use nothing of the standard library that the sanitizers would look at.
#define EMU_RAW __attribute__((no_sanitize("thread", "address"), noinline))

using std::max;
using std::min;

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace emu {

struct Worker;
struct Thread;

// A Point is where threads wait for one another: a barrier of the block, or the next collective
// operation of a warp.
struct Point {
  int arrived = 0, phase = 0;
  const char *what = nullptr;                // what all of them must be there for
  void *of[32];                              // operands, by lane
  Thread *first = nullptr, **last = &first;  // who waits
  // What the thread sanitizer orders by. There are two, because early threads are at the next phase
  // while late ones leave this one.
  char order[2];
};

// A Copy is an asynchronous copy to shared memory that has not been waited for.
struct Copy {
  void *to;
  unsigned bytes;
  unsigned char data[16];
};

struct Thread {
  dim3 index;
  int linear, lane;
  Point *warp;
  int warp_size;
  Worker *worker;
  const char *waits;
  Thread *next;
  std::vector<std::vector<Copy>> *copies;  // groups of copies, the last one open
  void *sp;
  char *stack;
  void *fake = nullptr, *fiber = nullptr;  // the sanitizers'
};

constexpr size_t kStack = 64 << 10;

// A Kernel is what KERNEL of tile.cuh registers.
struct Kernel {
  const char *name;
  size_t params;  // bytes
  void (*run)(const void *params);
  Kernel *next;
};

inline Kernel *&kernels() {
  static Kernel *first = nullptr;
  return first;
}

struct Register : Kernel {
  Register(const char *n, size_t p, void (*r)(const void *)) : Kernel{n, p, r, kernels()} {
    kernels() = this;
  }
};

inline const Kernel *find(const char *name) {
  for (Kernel *k = kernels(); k; k = k->next)
    if (!strcmp(k->name, name)) return k;
  return nullptr;
}

// A Fiber is a stack, and what the thread sanitizer knows of it.
struct Fiber {
  char *stack;
  void *sanitizer;
};

struct Launch {
  const Kernel *kernel;
  const void *params;
  dim3 grid, block;
  size_t shared;
  unsigned order;
  std::atomic<unsigned> next{0};
  std::vector<Fiber> retired;
  char begin, end;
};

// A Worker is an OS thread that runs blocks, one after another.
struct Worker {
  Launch *launch;
  dim3 block;
  std::vector<Thread> threads;
  std::vector<Point> warps;
  Point barriers[16];
  std::vector<Thread *> ready;  // a ring: those in [head, tail) can go on
  size_t head = 0, tail = 0, mask;
  unsigned random;
  int alive;
  unsigned char *shared;
  std::vector<void *> used;  // shared memory of earlier blocks, under the thread sanitizer
  char begin;
  bool begun = false;
  std::vector<Fiber> retired;  // of earlier blocks
  void *sp, *fake = nullptr, *fiber = nullptr;
  const void *bottom = nullptr;
  size_t size = 0;
};

inline __thread Thread *self;

// die ends the process with a message that says which thread of which block of which kernel it was.
[[noreturn]] inline void die(const char *format, ...) {
  va_list args;
  va_start(args, format);
  fprintf(stderr, "emulation: ");
  vfprintf(stderr, format, args);
  if (self) {
    Worker *w = self->worker;
    fprintf(stderr, " (kernel %s, block %u,%u,%u, thread %u,%u,%u)", w->launch->kernel->name,
            w->block.x, w->block.y, w->block.z, self->index.x, self->index.y, self->index.z);
  }
  fprintf(stderr, "\n");
  _exit(3);
}

// jump saves the registers that a callee keeps and goes on where the other stack was left.
__attribute__((naked, noinline)) static void jump(void **from, void *to) {
  asm("push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
      "mov %rsp, (%rdi); mov %rsi, %rsp\n"
      "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp; ret");
}

// to goes on with thread t. The stack that it leaves is saved in from.
EMU_RAW inline void to(Thread *t, void **from, bool ends = false) {
  (void)ends;
#if defined(__SANITIZE_ADDRESS__)
  void **fake = self ? &self->fake : &t->worker->fake;
  __sanitizer_start_switch_fiber(ends ? nullptr : fake, t->stack, kStack);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(t->fiber, __tsan_switch_to_fiber_no_sync);
#endif
  self = t;
  jump(from, t->sp);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(*fake, nullptr, nullptr);
#endif
}

// back leaves the last thread of a block for the worker.
EMU_RAW inline void back(Worker *w) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(nullptr, w->bottom, w->size);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(w->fiber, __tsan_switch_to_fiber_no_sync);
#endif
  void *from;
  self = nullptr;
  jump(&from, w->sp);
}

EMU_RAW inline void make_ready(Worker *w, Thread *t) { w->ready.data()[w->tail++ & w->mask] = t; }

// pick takes the thread that goes on next.
EMU_RAW inline Thread *pick(Worker *w) {
  Thread **r = w->ready.data();
  if (w->head == w->tail) {
    fprintf(stderr, "emulation: nobody can go on:\n");
    for (auto &t : w->threads) {
      dim3 i = t.index;
      if (t.waits) fprintf(stderr, "  thread %u,%u,%u waits at %s\n", i.x, i.y, i.z, t.waits);
    }
    die("deadlock");
  }
  if (w->launch->order == 0) return r[w->head++ & w->mask];
  if (w->launch->order > 1) {
    w->random = w->random * 1664525 + 1013904223;
    Thread **any = &r[(w->head + (w->random >> 8) % (w->tail - w->head)) & w->mask];
    Thread **end = &r[(w->tail - 1) & w->mask];
    Thread *t = *any;
    *any = *end, *end = t;
  }
  return r[--w->tail & w->mask];
}

EMU_RAW inline void release(Point &p) {
  p.arrived = 0, p.phase++;
  for (Thread *t = p.first; t; t = t->next) make_ready(t->worker, t);
  p.first = nullptr, p.last = &p.first;
}

// meet waits until count threads are at p for the same thing. The last one does work before anybody
// goes on.
template <class Work>
EMU_RAW void meet(Point &p, int count, const char *what, bool orders, Work work) {
  Thread *t = self;
  if (p.arrived == 0) p.what = what;
  if (p.what != what) die("threads meet at %s and at %s", p.what, what);
  char *order = &p.order[p.phase & 1];
  if (orders) EMU_RELEASE(order);
  if (++p.arrived == count) {
    work();
    release(p);
  } else {
    *p.last = t, p.last = &t->next, t->next = nullptr;
    t->waits = what;
    to(pick(t->worker), &t->sp);
    t->waits = nullptr;
  }
  if (orders) EMU_ACQUIRE(order);
}

// barrier is __syncthreads, or bar.sync of count threads where count is not 0.
inline void barrier(int id, int count) {
  Worker *w = self->worker;
  meet(w->barriers[id], count ? count : w->alive, "a barrier", true, [] {});
}

inline void sync_warp() { meet(*self->warp, self->warp_size, "__syncwarp", true, [] {}); }

// collective hands the operands of all lanes of the warp to work, once. It orders no memory.
template <class Work>
EMU_RAW void collective(const char *what, void *operands, Work work) {
  Point &p = *self->warp;
  if (self->warp_size != 32) die("%s in a warp of %d threads", what, self->warp_size);
  p.of[self->lane] = operands;
  meet(p, 32, what, false, [&] { work(p.of); });
}

// copy_async delivers when it is waited for. Until then the target holds poison.
inline void copy_async(void *to, const void *from, unsigned bytes, unsigned valid) {
  auto *shared = self->worker->shared;
  auto *at = (unsigned char *)to;
  if (((size_t)to | (size_t)from) % bytes)
    die("cp.async: %p to %p is not aligned to %u", from, to, bytes);
  if (at < shared || at + bytes > shared + self->worker->launch->shared)
    die("cp.async: %p is not in shared memory", to);
  if (self->copies->empty()) self->copies->emplace_back();
  Copy c{to, bytes, {}};
  for (unsigned i = 0; i < bytes; i++) {  // what is not valid is read too: from must be legal
    const unsigned char byte = ((const volatile unsigned char *)from)[i];
    if (i < valid) c.data[i] = byte;
  }
  for (unsigned i = 0; i < bytes; i++) at[i] = 0xff;
  self->copies->back().push_back(c);
}

inline void commit_async() {
  if (self->copies->empty()) self->copies->emplace_back();
  self->copies->emplace_back();
}

// wait_async waits for all groups of copies but the last so many.
inline void wait_async(size_t groups) {
  auto &all = *self->copies;
  while (!all.empty() && all.size() - 1 > groups) {
    for (Copy &c : all.front())
      for (unsigned i = 0; i < c.bytes; i++) ((unsigned char *)c.to)[i] = c.data[i];
    all.erase(all.begin());
  }
}

// entry is where a fiber begins.
EMU_RAW inline void entry() {
  Thread *t = self;
  Worker *w = t->worker;
#if defined(__SANITIZE_ADDRESS__)
  if (w->bottom)
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
  else
    __sanitizer_finish_switch_fiber(nullptr, &w->bottom, &w->size);
#endif
  EMU_ACQUIRE(&w->begin);
  {
    std::vector<std::vector<Copy>> copies;
    t->copies = &copies;
    w->launch->kernel->run(w->launch->params);
    for (auto &group : copies)
      if (!group.empty()) die("a thread ends with copies that it has not waited for");
  }
  EMU_RELEASE(&w->launch->end);
  w->alive--;
  for (Point &p : w->barriers)
    if (w->alive && p.arrived == w->alive) release(p);
  void *from;
  if (w->alive == 0)
    back(w);
  else
    to(pick(w), &from, true);
}

// idle_fibers are those that no launch uses. A launch gives its fibers back when all of it is done,
// so that a fiber is never in two blocks of one launch: the thread sanitizer would take the first
// for ordered before the second.
inline std::vector<Fiber> &idle_fibers() {
  static std::vector<Fiber> all;
  return all;
}
inline std::mutex &idle_lock() {
  static std::mutex lock;
  return lock;
}

// The thread sanitizer has no room for more fibers than a few thousand.
constexpr size_t kIdleFibers = 2048;

// take_fibers gives every thread of a block a fiber.
EMU_RAW inline void take_fibers(Worker *w) {
  std::lock_guard<std::mutex> guard(idle_lock());
  auto &idle = idle_fibers();
  for (Thread &t : w->threads) {
    if (idle.empty()) {
      void *at = mmap(nullptr, kStack, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (at == MAP_FAILED) die("no memory for a stack");
      idle.push_back({(char *)at, nullptr});
#if defined(__SANITIZE_THREAD__)
      idle.back().sanitizer = __tsan_create_fiber(0);
#endif
    }
    t.stack = idle.back().stack, t.fiber = idle.back().sanitizer;
    idle.pop_back();
  }
}

// drop_fibers gives fibers back, or ends those that are too many.
EMU_RAW inline void drop_fibers(std::vector<Fiber> &fibers) {
  std::lock_guard<std::mutex> guard(idle_lock());
  auto &idle = idle_fibers();
  for (Fiber &f : fibers) {
    if (idle.size() < kIdleFibers) {
      idle.push_back(f);
      continue;
    }
#if defined(__SANITIZE_THREAD__)
    __tsan_destroy_fiber(f.sanitizer);
#endif
    munmap(f.stack, kStack);
  }
  fibers.clear();
}

// retire_fibers takes the fibers of a block from its threads. Under the thread sanitizer they rest
// until the launch is done.
EMU_RAW inline void retire_fibers(Worker *w) {
  for (Thread &t : w->threads) w->retired.push_back({t.stack, t.fiber});
#if defined(__SANITIZE_THREAD__)
  if (w->retired.size() < kIdleFibers) return;
  for (Fiber &f : w->retired) {
    __tsan_destroy_fiber(f.sanitizer);
    munmap(f.stack, kStack);
  }
  w->retired.clear();
#endif
}

EMU_RAW inline void run_block(Worker *w, dim3 block) {
  Launch &l = *w->launch;
#if defined(__SANITIZE_THREAD__)
  if (w->begun) retire_fibers(w), take_fibers(w);
#endif
  w->begun = true;
  w->block = block;
  w->alive = (int)w->threads.size();
  void *shared = nullptr;
  if (posix_memalign(&shared, 1024, l.shared + !l.shared)) die("no shared memory");
  memset(shared, 0xff, l.shared);
  w->shared = (unsigned char *)shared;
  w->head = w->tail = 0;
  EMU_RELEASE(&w->begin);
  for (Thread &t : w->threads) {
    // Stacks begin at different offsets, so that their tops do not share sets of the caches.
    void **top = (void **)(t.stack + kStack - (t.linear % 64) * 832) - 2;
    *top = (void *)(void (*)())entry;
    t.sp = top - 6;
    make_ready(w, &t);
  }
  to(pick(w), &w->sp);
#if defined(__SANITIZE_THREAD__)
  w->used.push_back(w->shared);  // to free it now would order this block's threads and the next's
#else
  free(w->shared);
#endif
}

EMU_RAW inline void work(Launch *l) {
  Worker w;
  w.launch = l;
  w.random = l->order * 2654435761u;
  dim3 b = l->block;
  w.threads.resize(b.x * b.y * b.z);
  w.warps.resize((w.threads.size() + 31) / 32);
  for (w.mask = 31; w.mask + 1 < w.threads.size();) w.mask = w.mask * 2 + 1;
  w.ready.resize(w.mask + 1);
  for (size_t i = 0; i < w.threads.size(); i++) {
    Thread &t = w.threads[i];
    t.index = dim3(i % b.x, i / b.x % b.y, i / (b.x * b.y));
    t.linear = i, t.lane = i % 32, t.worker = &w, t.waits = nullptr;
    t.warp = &w.warps[i / 32];
    t.warp_size = (int)std::min<size_t>(32, w.threads.size() - i / 32 * 32);
  }
  take_fibers(&w);
#if defined(__SANITIZE_THREAD__)
  w.fiber = __tsan_get_current_fiber();
#endif
  for (unsigned n = l->grid.x * l->grid.y * l->grid.z, i; (i = l->next++) < n;) {
    unsigned at = l->order > 1 ? n - 1 - i : i;
    run_block(&w, dim3(at % l->grid.x, at / l->grid.x % l->grid.y, at / (l->grid.x * l->grid.y)));
  }
  retire_fibers(&w);
  {
    std::lock_guard<std::mutex> guard(idle_lock());
    l->retired.insert(l->retired.end(), w.retired.begin(), w.retired.end());
  }
  // From here on this thread is ordered after the threads of all blocks that are done. Another
  // worker must not be, so it takes no lock any more.
  EMU_ACQUIRE(&l->end);
  for (void *m : w.used) free(m);
}

inline unsigned setting(const char *name, unsigned otherwise) {
  const char *s = getenv(name);
  return s ? (unsigned)atoi(s) : otherwise;
}

// run runs a kernel over a grid and returns when all of it is done.
EMU_RAW inline void run(const Kernel *kernel, dim3 grid, dim3 block, size_t shared, unsigned order,
                        const void *params) {
  Launch l{kernel, params, grid, block, shared, order, {0}, {}, 0, 0};
  unsigned blocks = grid.x * grid.y * grid.z;
  unsigned workers = min(blocks, setting("EMU_THREADS", std::thread::hardware_concurrency()));
  EMU_RELEASE(&l.begin);
  std::vector<std::thread> helpers;
  for (unsigned i = 1; i < workers; i++) helpers.emplace_back(work, &l);
  std::thread(work, &l).join();
  for (auto &h : helpers) h.join();
  EMU_ACQUIRE(&l.end);
  drop_fibers(l.retired);
}

}  // namespace emu

#define threadIdx (emu::self->index)
#define blockIdx (emu::self->worker->block)
#define blockDim (emu::self->worker->launch->block)
#define gridDim (emu::self->worker->launch->grid)
