"""nvrtc.py LIBRARY SOURCE OUT OPTION...: compiles CUDA C++ to PTX. LIBRARY is libnvrtc.so."""

import ctypes
import os
import sys


def main(library, source, out, *options):
    nvrtc = ctypes.CDLL(library)
    program, size = ctypes.c_void_p(), ctypes.c_size_t()

    def call(name, *args):
        result = getattr(nvrtc, name)(*args)
        if result:
            nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
            sys.exit("%s: %s" % (name, nvrtc.nvrtcGetErrorString(result).decode()))

    def answer(name):
        call("nvrtcGet%sSize" % name, program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        call("nvrtcGet" + name, program, buffer)
        return buffer.raw.rstrip(b"\0")

    with open(source, "rb") as f:
        text = f.read()
    name = os.path.basename(source).encode()  # no folder, so that none is in the output
    call("nvrtcCreateProgram", ctypes.byref(program), text, name, 0, None, None)
    array = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
    failed = nvrtc.nvrtcCompileProgram(program, len(options), array)
    sys.stderr.write(answer("ProgramLog").decode())
    if failed:
        sys.exit(1)
    with open(out, "wb") as f:
        f.write(answer("PTX"))


main(*sys.argv[1:])
