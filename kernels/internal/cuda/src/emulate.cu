// emulate runs kernels for a parent process, in memory of its own. It reads commands from stdin and
// writes answers to stdout, all little-endian:
//
//	a  u64 bytes                         allocates memory that holds NaNs; answers u64 address
//	f  u64 address                       frees memory
//	w  u64 address, u64 bytes, contents  writes to memory
//	r  u64 address, u64 bytes            answers the contents of memory
//	l  a launch, as in launch()          runs a kernel
//
// A launch names the memory that the kernel may touch. Compiled with -fsanitize=address, an access
// to anything else ends the process, and so does a write to memory that is only to be read.

#include <map>
#include <string>

#include "emu.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION((void *)(p), n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION((void *)(p), n)
constexpr bool kGuards = true;
#else
#define POISON(p, n) (void)(p)
#define UNPOISON(p, n) (void)(p)
constexpr bool kGuards = false;
#endif

typedef unsigned u32;
typedef unsigned long long u64;

static std::map<u64, u64> allocations;  // bytes by address

static void get(void *p, size_t n) {
  if (fread(p, 1, n, stdin) != n) emu::die("a command is cut short");
}
template <class T>
static T get() {
  T v;
  get(&v, sizeof v);
  return v;
}

// memory_at is the address, if so many bytes there are of one allocation.
static char *memory_at(u64 address, u64 bytes) {
  auto a = allocations.upper_bound(address);
  if (a == allocations.begin() || (--a, address + bytes > a->first + a->second))
    emu::die("%llu bytes at %llx are not allocated", bytes, address);
  return (char *)address;
}

static u64 checksum(const unsigned char *p, u64 n) {
  u64 h = 14695981039346656037u;
  for (u64 i = 0; i < n; i++) h = (h ^ p[i]) * 1099511628211u;
  return h;
}

struct Span {
  u64 address, bytes, sum;
  u32 written;
};

// The least that devices of compute capability 8.0 and above have for a block that asks for it.
constexpr u32 kSharedLimit = 99 << 10;

// launch reads u32 length and name, u32 grid[3], threads, shared bytes, order, u32 length and
// parameters, u32 spans; for each span u64 address, u64 bytes, u32 whether it is written.
static void launch() {
  std::string name(get<u32>(), 0);
  get(&name[0], name.size());
  u32 d[6];
  get(d, sizeof d);
  std::vector<char> params(get<u32>());
  get(params.data(), params.size());
  std::vector<Span> spans(get<u32>());
  for (Span &s : spans) {
    s.address = get<u64>(), s.bytes = get<u64>(), s.written = get<u32>();
    memory_at(s.address, s.bytes);
  }
  const emu::Kernel *k = emu::find(name.c_str());
  if (!k) emu::die("there is no kernel %s", name.c_str());
  if (k->params != params.size())
    emu::die("kernel %s has %zu bytes of parameters, not %zu", k->name, k->params, params.size());
  if (!d[0] || !d[1] || !d[2] || d[1] > 65535 || d[2] > 65535 || !d[3] || d[3] > 1024 ||
      d[4] > kSharedLimit)
    emu::die(
        "no device takes kernel %s with a grid of %u,%u,%u, %u threads and %u bytes of shared "
        "memory",
        k->name, d[0], d[1], d[2], d[3], d[4]);
  if (kGuards) {
    for (Span &s : spans)
      if (!s.written) s.sum = checksum((unsigned char *)s.address, s.bytes);
    for (auto &a : allocations) POISON(a.first, a.second);
    for (Span &s : spans) UNPOISON(s.address, s.bytes);
  }
  emu::run(k, dim3(d[0], d[1], d[2]), dim3(d[3]), d[4], d[5], params.data());
  if (kGuards) {
    for (auto &a : allocations) UNPOISON(a.first, a.second);
    for (Span &s : spans) {
      bool in_place = s.written;
      for (Span &o : spans)
        in_place |= o.written && o.address < s.address + s.bytes && s.address < o.address + o.bytes;
      if (!in_place && s.sum != checksum((unsigned char *)s.address, s.bytes))
        emu::die("kernel %s writes to %llx, which it may only read", name.c_str(), s.address);
    }
  }
}

int main() {
  for (int command; (command = getchar()) != EOF;) {
    switch (command) {
      case 'a': {
        u64 bytes = get<u64>();
        void *p = nullptr;
        if (posix_memalign(&p, 256, bytes + !bytes)) emu::die("no memory for %llu bytes", bytes);
        memset(p, 0xff, bytes);
        allocations[(u64)p] = bytes;
        fwrite(&p, 8, 1, stdout);
        fflush(stdout);
        break;
      }
      case 'f': {
        u64 address = get<u64>();
        if (!allocations.erase(address)) emu::die("%llx is not allocated", address);
        free((void *)address);
        break;
      }
      case 'w': {
        u64 address = get<u64>(), bytes = get<u64>();
        get(memory_at(address, bytes), bytes);
        break;
      }
      case 'r': {
        u64 address = get<u64>(), bytes = get<u64>();
        fwrite(memory_at(address, bytes), 1, bytes, stdout);
        fflush(stdout);
        break;
      }
      case 'l':
        launch();
        break;
      default:
        emu::die("there is no command %d", command);
    }
  }
}
