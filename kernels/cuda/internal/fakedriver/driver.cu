// driver.cu is a CUDA driver, libcuda.so.1, whose devices are the emulation of emu.h. It has the
// functions that kernels/cuda calls. All others are there too and answer that they are not
// supported: see main.go.
//
// It is as strict as a driver may be, so that mistakes show:
//
//   - work is done when somebody waits for it, never before;
//   - every call needs a context that is current in its thread;
//   - asynchronous copies are from and to pinned memory, within one allocation of the device;
//   - nothing is freed while a context has work to do, and no context is released before all is
//     freed;
//   - what may not be called during a capture is refused;
//   - an error of a kernel stays, and every later call returns it.
//
// An image is a cubin or PTX. It must be for the device, and has the kernels that it names, with
// parameters that are as long as the emulation's. The code that runs is the emulation's.
//
// Settings are environment variables, which are read when they are needed:
//
//	EMU_DEVICES     number of devices, 1
//	EMU_CAPABILITY  compute capability, 80
//	EMU_DRIVER      version of the driver, 12080
//	EMU_MEMORY      memory of a device in MiB, 1024
//	EMU_ORDER       order of threads, 0: see emu.h
//	EMU_FAULT       a kernel that fails when it runs

#include <cuda.h>
#include <elf.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "emu.h"

#define API extern "C" CUresult CUDAAPI

typedef std::function<CUresult()> Work;
typedef std::vector<Work> Works;

// CUctx_st is a device's primary context.
struct CUctx_st {
  int retained = 0;
  size_t used = 0;  // of the device's memory
  CUresult broken = CUDA_SUCCESS;
  std::map<CUdeviceptr, size_t> memory;
  std::map<char *, size_t> pinned;
  std::set<CUstream> streams;
  std::set<CUevent> events;
  std::set<CUmodule> modules;
  std::set<CUgraph> graphs;
  std::set<CUgraphExec> executables;
};

struct CUfunc_st {
  const emu::Kernel *kernel;
  int shared = 48 << 10;  // the most that a block may have
};

struct CUmod_st {
  std::map<std::string, CUfunc_st> functions;
};

struct CUstream_st {
  std::deque<Work> pending;
  size_t begun = 0;  // how much work has been taken from pending
  std::unique_ptr<Works> capture;
  bool invalid = false;  // the capture
};

struct CUevent_st {
  CUstream stream = nullptr;
  size_t at = 0;  // when so much of the stream's work is done
};

struct CUgraph_st {
  Works nodes;
};

struct CUgraphExec_st {
  Works nodes;
  std::shared_ptr<int> pending = std::make_shared<int>(0);
};

static std::recursive_mutex lock;
static CUctx_st contexts[8];
static thread_local CUctx_st *current;
static thread_local CUstream capturing;  // by this thread

static unsigned device_count() { return min(8u, emu::setting("EMU_DEVICES", 1)); }
static int capability() { return emu::setting("EMU_CAPABILITY", 80); }
static int driver_version() { return emu::setting("EMU_DRIVER", 12080); }
static size_t total() { return (size_t)emu::setting("EMU_MEMORY", 1024) << 20; }

// most_shared is how much shared memory a block can ask for, by CUDA's table of capabilities.
static int most_shared() {
  switch (capability()) {
    case 80:
    case 87:
      return 163 << 10;
    case 90:
    case 100:
      return 227 << 10;
    default:
      return 99 << 10;
  }
}

// ENTER begins every function. IN_CONTEXT begins those that need a context, and names it context.
#define ENTER std::lock_guard<std::recursive_mutex> guard(lock)
#define IN_CONTEXT                                                     \
  ENTER;                                                               \
  CUctx_st *context = current;                                         \
  if (!context || !context->retained) return CUDA_ERROR_INVALID_CONTEXT; \
  if (context->broken) return context->broken

// NOT_IN_CAPTURE follows where a call would end the capture that its thread has begun.
#define NOT_IN_CAPTURE \
  if (capturing) return capturing->invalid = true, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED

template <class T>
static bool has(const std::set<T> &all, T one) {
  return all.count(one) > 0;
}

// within reports whether bytes at p are of one allocation.
template <class P>
static bool within(const std::map<P, size_t> &all, P p, size_t bytes) {
  auto a = all.upper_bound(p);
  return a != all.begin() && (--a, p - a->first + bytes <= a->second);
}

// submit gives work to a stream.
static CUresult submit(CUstream s, Work work) {
  if (s->capture)
    s->capture->push_back(work);
  else
    s->pending.push_back(work);
  return CUDA_SUCCESS;
}

// finish does the work of a stream until so much of it is done. An error ends all work.
static CUresult finish(CUctx_st *context, CUstream s, size_t until) {
  while (s->begun < until) {
    Work work = s->pending.front();
    s->pending.pop_front();
    s->begun++;
    if (CUresult r = work()) {
      context->broken = r;
      for (CUstream other : context->streams) {
        other->begun += other->pending.size();
        other->pending.clear();
      }
      return r;
    }
  }
  return CUDA_SUCCESS;
}
static size_t submitted(CUstream s) { return s->begun + s->pending.size(); }

static bool idle(CUctx_st *context) {
  for (CUstream s : context->streams)
    if (!s->pending.empty()) return false;
  return true;
}

API cuInit(unsigned) { return device_count() ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE; }

API cuDriverGetVersion(int *version) { return *version = driver_version(), CUDA_SUCCESS; }

API cuGetErrorName(CUresult error, const char **name) {
  switch (error) {
#define NAME(e) \
  case e:       \
    return *name = #e, CUDA_SUCCESS;
    NAME(CUDA_ERROR_INVALID_VALUE)
    NAME(CUDA_ERROR_OUT_OF_MEMORY)
    NAME(CUDA_ERROR_NO_DEVICE)
    NAME(CUDA_ERROR_INVALID_DEVICE)
    NAME(CUDA_ERROR_INVALID_IMAGE)
    NAME(CUDA_ERROR_INVALID_CONTEXT)
    NAME(CUDA_ERROR_NO_BINARY_FOR_GPU)
    NAME(CUDA_ERROR_UNSUPPORTED_PTX_VERSION)
    NAME(CUDA_ERROR_INVALID_HANDLE)
    NAME(CUDA_ERROR_ILLEGAL_STATE)
    NAME(CUDA_ERROR_NOT_FOUND)
    NAME(CUDA_ERROR_ILLEGAL_ADDRESS)
    NAME(CUDA_ERROR_NOT_SUPPORTED)
    NAME(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
    NAME(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)
    default:
      return *name = nullptr, CUDA_ERROR_INVALID_VALUE;
  }
}

API cuDeviceGetCount(int *n) { return *n = device_count(), CUDA_SUCCESS; }

API cuDeviceGet(CUdevice *d, int index) {
  if (index < 0 || index >= (int)device_count()) return CUDA_ERROR_INVALID_DEVICE;
  return *d = index, CUDA_SUCCESS;
}

API cuDeviceGetName(char *name, int size, CUdevice d) {
  return snprintf(name, size, "Emulated GPU %d", d), CUDA_SUCCESS;
}

API cuDeviceTotalMem(size_t *bytes, CUdevice) { return *bytes = total(), CUDA_SUCCESS; }

API cuDeviceGetAttribute(int *value, CUdevice_attribute which, CUdevice) {
  switch (which) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      return *value = capability() / 10, CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      return *value = capability() % 10, CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      return *value = most_shared(), CUDA_SUCCESS;
    default:
      return CUDA_ERROR_NOT_SUPPORTED;
  }
}

API cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice d) {
  ENTER;
  *c = &contexts[d];
  contexts[d].retained++;
  return CUDA_SUCCESS;
}

API cuDevicePrimaryCtxRelease(CUdevice d) {
  ENTER;
  CUctx_st &c = contexts[d];
  if (!c.retained) return CUDA_ERROR_INVALID_CONTEXT;
  if (--c.retained) return CUDA_SUCCESS;
  bool left = !(c.memory.empty() && c.pinned.empty() && c.streams.empty() && c.events.empty() &&
                c.modules.empty() && c.graphs.empty() && c.executables.empty());
  for (auto &m : c.memory) free((void *)m.first);
  for (auto &m : c.pinned) free(m.first);
  c = CUctx_st();
  return left ? CUDA_ERROR_ILLEGAL_STATE : CUDA_SUCCESS;
}

API cuCtxSetCurrent(CUcontext c) { return current = c, CUDA_SUCCESS; }

API cuMemGetInfo(size_t *available, size_t *all) {
  IN_CONTEXT;
  *available = total() - min(total(), context->used);
  *all = total();
  return CUDA_SUCCESS;
}

API cuMemAlloc(CUdeviceptr *p, size_t bytes) {
  IN_CONTEXT;
  NOT_IN_CAPTURE;
  if (!bytes) return CUDA_ERROR_INVALID_VALUE;
  void *memory = nullptr;
  if (bytes > total() || context->used > total() - bytes || posix_memalign(&memory, 256, bytes))
    return CUDA_ERROR_OUT_OF_MEMORY;
  memset(memory, 0xff, bytes);
  *p = (CUdeviceptr)memory;
  context->memory[*p] = bytes;
  context->used += bytes;
  return CUDA_SUCCESS;
}

API cuMemFree(CUdeviceptr p) {
  IN_CONTEXT;
  NOT_IN_CAPTURE;
  auto m = context->memory.find(p);
  if (m == context->memory.end()) return CUDA_ERROR_INVALID_VALUE;
  if (!idle(context)) return CUDA_ERROR_ILLEGAL_STATE;
  context->used -= m->second;
  context->memory.erase(m);
  free((void *)p);
  return CUDA_SUCCESS;
}

API cuMemHostAlloc(void **p, size_t bytes, unsigned) {
  IN_CONTEXT;
  NOT_IN_CAPTURE;
  if (!(*p = malloc(bytes))) return CUDA_ERROR_OUT_OF_MEMORY;
  memset(*p, 0xff, bytes);
  context->pinned[(char *)*p] = bytes;
  return CUDA_SUCCESS;
}

API cuMemFreeHost(void *p) {
  IN_CONTEXT;
  NOT_IN_CAPTURE;
  if (!context->pinned.count((char *)p)) return CUDA_ERROR_INVALID_VALUE;
  if (!idle(context)) return CUDA_ERROR_ILLEGAL_STATE;
  context->pinned.erase((char *)p);
  free(p);
  return CUDA_SUCCESS;
}

// copy submits a copy between the device and the host.
static CUresult copy(CUctx_st *context, CUstream s, CUdeviceptr device, const void *host,
                     size_t bytes, bool to_device) {
  if (!has(context->streams, s)) return CUDA_ERROR_INVALID_HANDLE;
  if (!within(context->memory, device, bytes) || !within(context->pinned, (char *)host, bytes))
    return CUDA_ERROR_INVALID_VALUE;
  return submit(s, [=] {
    memcpy(to_device ? (void *)device : (void *)host, to_device ? host : (void *)device, bytes);
    return CUDA_SUCCESS;
  });
}

API cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream s) {
  IN_CONTEXT;
  return copy(context, s, to, from, bytes, true);
}

API cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream s) {
  IN_CONTEXT;
  return copy(context, s, from, to, bytes, false);
}

API cuStreamCreate(CUstream *s, unsigned) {
  IN_CONTEXT;
  return context->streams.insert(*s = new CUstream_st), CUDA_SUCCESS;
}

API cuStreamDestroy(CUstream s) {
  IN_CONTEXT;
  if (!context->streams.erase(s)) return CUDA_ERROR_INVALID_HANDLE;
  if (!s->pending.empty()) return CUDA_ERROR_ILLEGAL_STATE;
  return delete s, CUDA_SUCCESS;
}

API cuStreamSynchronize(CUstream s) {
  IN_CONTEXT;
  NOT_IN_CAPTURE;
  if (!has(context->streams, s)) return CUDA_ERROR_INVALID_HANDLE;
  return finish(context, s, submitted(s));
}

API cuEventCreate(CUevent *e, unsigned) {
  IN_CONTEXT;
  return context->events.insert(*e = new CUevent_st), CUDA_SUCCESS;
}

API cuEventDestroy(CUevent e) {
  IN_CONTEXT;
  if (!context->events.erase(e)) return CUDA_ERROR_INVALID_HANDLE;
  return delete e, CUDA_SUCCESS;
}

API cuEventRecord(CUevent e, CUstream s) {
  IN_CONTEXT;
  NOT_IN_CAPTURE;
  if (!has(context->events, e) || !has(context->streams, s)) return CUDA_ERROR_INVALID_HANDLE;
  e->stream = s;
  e->at = submitted(s);
  return CUDA_SUCCESS;
}

API cuEventSynchronize(CUevent e) {
  IN_CONTEXT;
  NOT_IN_CAPTURE;
  if (!has(context->events, e)) return CUDA_ERROR_INVALID_HANDLE;
  return e->stream ? finish(context, e->stream, e->at) : CUDA_SUCCESS;
}

API cuStreamBeginCapture(CUstream s, CUstreamCaptureMode mode) {
  IN_CONTEXT;
  if (!has(context->streams, s)) return CUDA_ERROR_INVALID_HANDLE;
  if (s->capture || capturing || mode != CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
    return CUDA_ERROR_ILLEGAL_STATE;
  s->capture = std::make_unique<Works>();
  s->invalid = false;
  capturing = s;
  return CUDA_SUCCESS;
}

API cuStreamEndCapture(CUstream s, CUgraph *g) {
  IN_CONTEXT;
  if (!has(context->streams, s)) return CUDA_ERROR_INVALID_HANDLE;
  if (!s->capture || capturing != s) return CUDA_ERROR_ILLEGAL_STATE;
  auto nodes = std::move(s->capture);
  capturing = nullptr;
  if (s->invalid) return *g = nullptr, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  return context->graphs.insert(*g = new CUgraph_st{*nodes}), CUDA_SUCCESS;
}

API cuGraphDestroy(CUgraph g) {
  IN_CONTEXT;
  if (!context->graphs.erase(g)) return CUDA_ERROR_INVALID_HANDLE;
  return delete g, CUDA_SUCCESS;
}

API cuGraphInstantiateWithFlags(CUgraphExec *e, CUgraph g, unsigned long long) {
  IN_CONTEXT;
  if (!has(context->graphs, g)) return CUDA_ERROR_INVALID_HANDLE;
  return context->executables.insert(*e = new CUgraphExec_st{g->nodes}), CUDA_SUCCESS;
}

API cuGraphExecDestroy(CUgraphExec e) {
  IN_CONTEXT;
  if (!has(context->executables, e)) return CUDA_ERROR_INVALID_HANDLE;
  if (*e->pending) return CUDA_ERROR_ILLEGAL_STATE;
  context->executables.erase(e);
  return delete e, CUDA_SUCCESS;
}

API cuGraphLaunch(CUgraphExec e, CUstream s) {
  IN_CONTEXT;
  if (!has(context->executables, e) || !has(context->streams, s)) return CUDA_ERROR_INVALID_HANDLE;
  if (s->capture) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  for (Work &work : e->nodes) submit(s, work);
  auto pending = e->pending;
  ++*pending;
  return submit(s, [=] { return --*pending, CUDA_SUCCESS; });
}

// ptx_version is the newest version of PTX that a driver knows, ten times.
static int ptx_version(int driver) {
  switch (driver / 10) {
    case 1205:
    case 1206:
      return 85;
    case 1207:
    case 1208:
    case 1209:
      return driver / 10 - 1207 + 86;
    default:
      return driver / 1000 * 10 - 40 + driver / 10 % 100;
  }
}

// number_after is the number behind a word in a text, without its point, or -1.
static int number_after(const std::string &text, const char *word) {
  size_t at = text.find(word);
  if (at == std::string::npos) return -1;
  int n = 0;
  for (at += strlen(word); at < text.size() && (isdigit(text[at]) || text[at] == '.'); at++)
    if (text[at] != '.') n = n * 10 + text[at] - '0';
  return n;
}

// Names are those of an image's kernels, each with the bytes of its parameter, or -1 where the
// image does not say.
typedef std::map<std::string, int> Names;

// read_ptx checks PTX and collects the names of its kernels.
static CUresult read_ptx(const char *image, Names *names) {
  std::string text(image), entry = ".entry ";
  if (number_after(text, ".version ") > ptx_version(driver_version()))
    return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
  if (number_after(text, ".target sm_") > capability()) return CUDA_ERROR_NO_BINARY_FOR_GPU;
  for (size_t at = 0; (at = text.find(entry, at)) != std::string::npos;) {
    at += entry.size();
    names->emplace(text.substr(at, text.find_first_of("( \n", at) - at), -1);
  }
  return CUDA_SUCCESS;
}

// read_cubin checks a cubin and collects the names of its kernels. Each has a section with the
// constants that it begins with. Parameters are the last of them.
static CUresult read_cubin(const char *image, Names *names) {
  const Elf64_Ehdr *head = (const Elf64_Ehdr *)image;
  int abi = head->e_ident[EI_ABIVERSION];
  if (head->e_machine != EM_CUDA || abi < 7 || abi > 8) return CUDA_ERROR_INVALID_IMAGE;
  if (abi == 8 && driver_version() < 13000) return CUDA_ERROR_INVALID_IMAGE;
  int made_for = abi == 7 ? head->e_flags & 0xff : head->e_flags >> 8 & 0xff;
  bool exactly = head->e_flags & (abi == 7 ? 0x800 : 0x8);  // sm_90a, not sm_90
  if (made_for / 10 != capability() / 10 || made_for > capability() ||
      (exactly && made_for != capability()))
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  const int before = made_for < 90 ? 0x160 : 0x210;
  const std::string constants = ".nv.constant0.";
  const Elf64_Shdr *sections = (const Elf64_Shdr *)(image + head->e_shoff);
  const char *strings = image + sections[head->e_shstrndx].sh_offset;
  for (int i = 0; i < head->e_shnum; i++) {
    std::string name = strings + sections[i].sh_name;
    if (name.rfind(constants, 0) == 0)
      names->emplace(name.substr(constants.size()), (int)sections[i].sh_size - before);
  }
  return CUDA_SUCCESS;
}

API cuModuleLoadData(CUmodule *m, const void *image) {
  IN_CONTEXT;
  const char *at = (const char *)image;
  Names names;
  CUresult r = CUDA_ERROR_INVALID_IMAGE;
  if (!memcmp(at, ELFMAG, SELFMAG))
    r = read_cubin(at, &names);
  else if (strstr(at, ".version "))
    r = read_ptx(at, &names);
  if (r) return r;
  for (auto &name : names) {
    const emu::Kernel *k = emu::find(name.first.c_str());
    if (!k || name.second < 0 || name.second == (int)k->params) continue;
    fprintf(stderr, "emulation: %s has %d bytes of parameters in the image, and %zu emulated\n",
            k->name, name.second, k->params);
    return CUDA_ERROR_INVALID_IMAGE;
  }
  context->modules.insert(*m = new CUmod_st);
  for (auto &name : names)
    if (const emu::Kernel *k = emu::find(name.first.c_str()))
      (*m)->functions[name.first].kernel = k;
  return CUDA_SUCCESS;
}

API cuModuleUnload(CUmodule m) {
  IN_CONTEXT;
  if (!idle(context)) return CUDA_ERROR_ILLEGAL_STATE;
  if (!context->modules.erase(m)) return CUDA_ERROR_INVALID_HANDLE;
  return delete m, CUDA_SUCCESS;
}

API cuModuleGetFunction(CUfunction *f, CUmodule m, const char *name) {
  IN_CONTEXT;
  if (!has(context->modules, m)) return CUDA_ERROR_INVALID_HANDLE;
  auto found = m->functions.find(name);
  if (found == m->functions.end()) return CUDA_ERROR_NOT_FOUND;
  return *f = &found->second, CUDA_SUCCESS;
}

API cuFuncSetAttribute(CUfunction f, CUfunction_attribute which, int value) {
  IN_CONTEXT;
  if (which != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_ERROR_NOT_SUPPORTED;
  if (value < 0 || value > most_shared()) return CUDA_ERROR_INVALID_VALUE;
  return f->shared = value, CUDA_SUCCESS;
}

API cuFuncGetAttribute(int *value, CUfunction_attribute which, CUfunction) {
  IN_CONTEXT;
  if (which != CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK) return CUDA_ERROR_NOT_SUPPORTED;
  return *value = 1024, CUDA_SUCCESS;
}

API cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, CUstream s, void **params, void **) {
  IN_CONTEXT;
  if (!has(context->streams, s)) return CUDA_ERROR_INVALID_HANDLE;
  if (!gx || !gy || !gz || gx > 0x7fffffff || gy > 65535 || gz > 65535)
    return CUDA_ERROR_INVALID_VALUE;
  if (!bx || !by || !bz || bx > 1024 || by > 1024 || bz > 64 || bx * by * bz > 1024)
    return CUDA_ERROR_INVALID_VALUE;
  if ((int)shared < 0 || (int)shared > f->shared) return CUDA_ERROR_INVALID_VALUE;
  const emu::Kernel *k = f->kernel;
  std::string p((const char *)params[0], k->params);  // now, as drivers do
  return submit(s, [=] {
    const char *fault = getenv("EMU_FAULT");
    if (fault && !strcmp(fault, k->name)) return CUDA_ERROR_ILLEGAL_ADDRESS;
    emu::run(k, dim3(gx, gy, gz), dim3(bx, by, bz), shared, emu::setting("EMU_ORDER", 0), p.data());
    return CUDA_SUCCESS;
  });
}
