"""Confines a process that decodes untrusted bytes: limits, capabilities, and a filter of system calls.

An attacker who takes a decoder over has its file, and no more: not the process with credentials (an
ordinary process of the same user may read its memory and environment), no other process, no network; and
leaves nothing behind.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP = 1, 4, 22
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522
# On a machine that functions share, those that answer requests come before decoders.
_NICENESS = 10
_libc = ctypes.CDLL(None, use_errno=True)


def hide() -> None:
    """Hide this process's memory from processes without root's capabilities (ptrace(2))."""
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def adopt() -> None:
    """Make this process the parent of all orphans below it, whatever session they have started."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def confine(parent: int, memory_bytes: int, file_bytes: int | None = None) -> None:
    """Confine this process and its children, for good. It dies with its `parent`, which dies with the worker.

    The number of processes is not limited: the kernel counts the threads of all processes of the user.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it had died before prctl
        os._exit(1)
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: 256,
    }
    for limit, value in limits.items():
        if value is not None:
            resource.setrlimit(limit, (value, value))
    os.nice(_NICENESS)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header, none = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), bytes(24)
    _libc.capset(header, none)
    if platform.machine() in _ARCHITECTURES:
        program = ctypes.create_string_buffer(_filter())
        wanted = _Program(len(program.raw) // 8, ctypes.addressof(program))
        # The kernel may not support it: sandbox warns of that.
        _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(wanted), 0, 0)


def can_filter() -> bool:
    """Whether the kernel filters system calls: only then is a null filter a bad address (prctl(2))."""
    _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, None, 0, 0)
    return ctypes.get_errno() == errno.EFAULT and platform.machine() in _ARCHITECTURES


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


# The kernel's audit numbers, and the column of the system call numbers below.
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
# System calls that reach another process, the network or rare parts of the kernel, or that make a process:
# their numbers for x86-64 and for AArch64, which lacks the oldest.
DENIED = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242),
    "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    "io_uring_setup": (425, 425),  # by which sockets are made without such a call
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "kcmp": (312, 272),
    "pidfd_send_signal": (424, 424),  # which takes a folder of /proc, too
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "fork": (57, None), "vfork": (58, None),
    "unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51), "pivot_root": (155, 41),
    "mount": (165, 40), "umount2": (166, 39), "open_by_handle_at": (304, 265),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
}  # fmt: skip
# Allowed on this process alone, the first argument: kill and tgkill with its id, prlimit64 with 0.
SIGNALS, LIMITS = ((62, 129), (234, 131)), (302, 261)
# Denied with these as the second argument: which process a file notifies, and by which signal.
_NOTIFIED_BY_FILES = {
    "fcntl": ((72, 25), (8, 10, 15)),  # F_SETOWN, F_SETSIG, F_SETOWN_EX
    "ioctl": ((16, 29), (0x8901, 0x8902)),  # FIOSETOWN, SIOCSPGRP
}
# Both make threads and processes. A filter cannot read clone3's arguments, which lie in memory: it is
# reported as missing, and the C library takes clone.
CLONE, CLONE3 = (56, 220), (435, 435)
_CLONE_THREAD = 0x10000
# Flag of x86-64's second set of numbers, x32.
_X32 = 0x40000000

# Instructions of classic BPF, and a filter's verdicts (linux/bpf_common.h, linux/seccomp.h).
_LOAD, _EQUAL, _AT_LEAST, _HAS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ALLOW, _ERROR = 0x80000000, 0x7FFF0000, 0x00050000
# Offsets in struct seccomp_data.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24


def _filter() -> bytes:
    """The filter of this process, as a classic BPF program."""
    architecture, column = _ARCHITECTURES[platform.machine()]
    deny = (_RETURN, 0, 0, _ERROR | errno.EPERM)
    allow = (_RETURN, 0, 0, _ALLOW)
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),  # a call by another architecture's numbers
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        deny,
        (_EQUAL, 0, 1, CLONE3[column]),
        (_RETURN, 0, 0, _ERROR | errno.ENOSYS),
    ]
    for numbers in DENIED.values():
        if (number := numbers[column]) is not None:
            program += [(_EQUAL, 0, 1, number), deny]
    load = (_LOAD, 0, 0, _FIRST_ARGUMENT)
    program += [(_EQUAL, 0, 4, CLONE[column]), load, (_HAS, 0, 1, _CLONE_THREAD), allow, deny]
    own = (*((call[column], os.getpid()) for call in SIGNALS), (LIMITS[column], 0))
    for number, value in own:
        program += [(_EQUAL, 0, 4, number), load, (_EQUAL, 0, 1, value), allow, deny]
    for numbers, denied in _NOTIFIED_BY_FILES.values():
        tests = [each for value in denied for each in ((_EQUAL, 0, 1, value), deny)]
        program += [
            (_EQUAL, 0, len(tests) + 2, numbers[column]),
            (_LOAD, 0, 0, _SECOND_ARGUMENT),
            *tests,
            allow,
        ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in [*program, allow])
