"""A file system in user space whose one file is never read: FUSE that does not answer.

`never_answers.py DIRECTORY` mounts itself there (it needs /dev/fuse and mount rights), writes
`DIRECTORY.ready`, and `DIRECTORY.asked` when somebody reads `DIRECTORY/file`. Who reads hangs in
the kernel until this process ends; once it was killed, in state D. Formats: linux/fuse.h.
"""

import ctypes
import os
import struct
import sys

LOOKUP, FORGET, GETATTR, OPEN, READ, INIT, OPENDIR, INTERRUPT = 1, 2, 3, 14, 15, 26, 27, 36
DIRECTORY, FILE = 0o040755, 0o100644


def attributes(node):
    mode = DIRECTORY if node == 1 else FILE
    return struct.pack("<6Q10I", node, 4096, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(operation, node):
    """The body of an answer; None where there is none."""
    if operation == INIT:
        return struct.pack("<4I2H2I", 7, 31, 0, 0, 12, 9, 4096, 1) + bytes(36)
    if operation == LOOKUP:
        return struct.pack("<4Q2I", 2, 0, 60, 60, 0, 0) + attributes(2)
    if operation == GETATTR:
        return struct.pack("<Q2I", 60, 0, 0) + attributes(node)
    if operation in (OPEN, OPENDIR):
        return struct.pack("<Q2I", 1, 0, 0)
    return None


def main():
    place = sys.argv[1]
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"never", place.encode(), b"fuse", 0, options) != 0:
        sys.exit(f"cannot mount: {os.strerror(ctypes.get_errno())}")
    open(place + ".ready", "w").close()
    while True:
        request = os.read(device, 1 << 17)
        operation, unique, node = struct.unpack_from("<IQQ", request, 4)
        if operation == READ:
            open(place + ".asked", "w").close()
            continue
        if operation in (FORGET, INTERRUPT):
            continue
        body = answer(operation, node)
        error = 0 if body is not None else -38
        body = body or b""
        os.write(device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)


main()
