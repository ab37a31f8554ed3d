"""The system calls that a judged program may make, as a BPF program for seccomp.

An allow list: what is not on it answers ENOSYS, as an old kernel would, so that C libraries take
their fallbacks. Left out on purpose: sockets of every family, namespaces and mounts, ptrace and reading
other processes, keys, bpf, io_uring, userfaultfd, System V and POSIX message queues and shared memory,
memory that limits do not see (memfd), scheduling and limits of other processes.

recvmsg is there for the spawner alone: no program has, or can get, a socket to receive from.

Not covered: bugs in the calls that are allowed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

# name:x86_64:aarch64, '-' where an architecture has no such call.
_ALLOWED = """
access:21:- alarm:37:- arch_prctl:158:- brk:12:214 capget:125:90 chdir:80:49 chmod:90:- clock_getres:229:114
clock_gettime:228:113 clock_nanosleep:230:115 close:3:57 close_range:436:436 copy_file_range:326:285 creat:85:-
dup:32:23 dup2:33:- dup3:292:24 epoll_create:213:- epoll_create1:291:20 epoll_ctl:233:21 epoll_pwait:281:22
epoll_pwait2:441:441 epoll_wait:232:- eventfd:284:- eventfd2:290:19 execve:59:221 execveat:322:281 exit:60:93
exit_group:231:94 faccessat:269:48 faccessat2:439:439 fadvise64:221:223 fallocate:285:47 fchdir:81:50 fchmod:91:52
fchmodat:268:53 fchmodat2:452:452 fcntl:72:25 fdatasync:75:83 flock:73:32 fork:57:- fstat:5:80 fstatfs:138:44
fsync:74:82 ftruncate:77:46 futex:202:98 futex_waitv:449:449 get_robust_list:274:100 getcpu:309:168 getcwd:79:17
getdents:78:- getdents64:217:61 getegid:108:177 geteuid:107:175 getgid:104:176 getgroups:115:158 getitimer:36:102
getpgid:121:155 getpgrp:111:- getpid:39:172 getppid:110:173 getpriority:140:141 getrandom:318:278 getresgid:120:150
getresuid:118:148 getrlimit:97:163 getrusage:98:165 getsid:124:156 gettid:186:178 gettimeofday:96:169 getuid:102:174
ioctl:16:29 kill:62:129 link:86:- linkat:265:37 lseek:8:62 lstat:6:- madvise:28:233 membarrier:324:283 mkdir:83:-
mkdirat:258:34 mlock:149:228 mmap:9:222 mprotect:10:226 mremap:25:216 msync:26:227 munlock:150:229 munmap:11:215
nanosleep:35:101 newfstatat:262:79 open:2:- openat:257:56 openat2:437:437 pause:34:- pidfd_open:434:434
pidfd_send_signal:424:424 pipe:22:- pipe2:293:59 poll:7:- ppoll:271:73 prctl:157:167 pread64:17:67 preadv:295:69
preadv2:327:286 pselect6:270:72 pwrite64:18:68 pwritev:296:70 pwritev2:328:287 read:0:63 readahead:187:213
readlink:89:- readlinkat:267:78 readv:19:65 recvmsg:47:212 rename:82:- renameat:264:38 renameat2:316:276
restart_syscall:219:128
rmdir:84:- rseq:334:293 rt_sigaction:13:134 rt_sigpending:127:136 rt_sigprocmask:14:135 rt_sigqueueinfo:129:138
rt_sigreturn:15:139 rt_sigsuspend:130:133 rt_sigtimedwait:128:137 rt_tgsigqueueinfo:297:240
sched_get_priority_max:146:125 sched_get_priority_min:147:126 sched_getaffinity:204:123 sched_getparam:143:121
sched_getscheduler:145:120 sched_rr_get_interval:148:127 sched_yield:24:124 select:23:- sendfile:40:71
set_robust_list:273:99 set_tid_address:218:96 setitimer:38:103 setpgid:109:154 setrlimit:160:164 setsid:112:157
sigaltstack:131:132 signalfd:282:- signalfd4:289:74 stat:4:- statfs:137:43 statx:332:291 symlink:88:-
symlinkat:266:36 sync_file_range:277:84 sysinfo:99:179 tgkill:234:131 time:201:- timer_create:222:107
timer_delete:226:111 timer_getoverrun:225:109 timer_gettime:224:108 timer_settime:223:110 timerfd_create:283:85
timerfd_gettime:287:87 timerfd_settime:286:86 times:100:153 tkill:200:130 truncate:76:45 umask:95:166 uname:63:160
unlink:87:- unlinkat:263:35 utime:132:- utimensat:280:88 utimes:235:- vfork:58:- wait4:61:260 waitid:247:95
write:1:64 writev:20:66
"""

_AGENTS = """
capset clone memfd_create mount pivot_root prlimit64 recvfrom seccomp sendmsg sendto setgroups sethostname setresgid
setresuid socketpair umount2 unshare
"""
"""What an agent and the engine's own start of it need in a container besides; programs never get these."""

_ENOSYS, _EPERM = 38, 1
_ARCHITECTURES = {"x86_64": (0, 0xC000003E, 56, 302), "aarch64": (1, 0xC00000B7, 220, 261)}
"""Per machine: column of the table, AUDIT_ARCH, and the numbers of clone and prlimit64."""

_NEW_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID and NET; NEWTIME cannot be asked for with clone(2)."""

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE, _OFFSET_ARGUMENT_0 = 0, 4, 16


def supported() -> bool:
    """Whether there is a filter for this machine."""
    return platform.machine() in _ARCHITECTURES


def program() -> bytes:
    """The filter for this machine, as an array of `struct sock_filter`.

    Raises:
        OSError: no table for this processor.
    """
    if not supported():
        raise OSError(_ENOSYS, f"no seccomp filter for {platform.machine()}")
    column, architecture, clone, prlimit = _ARCHITECTURES[platform.machine()]
    numbers = sorted(
        int(entry.split(":")[1 + column]) for entry in _ALLOWED.split() if entry.split(":")[1 + column] != "-"
    )

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, value)

    steps = [
        step(_LOAD, _OFFSET_ARCHITECTURE),
        step(_JUMP_EQUAL, architecture, 1, 0),
        step(_RETURN, _KILL),
        step(_LOAD, _OFFSET_NUMBER),
        # Threads and processes, but no namespaces.
        step(_JUMP_EQUAL, clone, 0, 4),
        step(_LOAD, _OFFSET_ARGUMENT_0),
        step(_JUMP_SET, _NEW_NAMESPACES, 0, 1),
        step(_RETURN, _ERRNO | _EPERM),
        step(_RETURN, _ALLOW),
        # One's own limits only: the agent may have the same user.
        step(_JUMP_EQUAL, prlimit, 0, 4),
        step(_LOAD, _OFFSET_ARGUMENT_0),
        step(_JUMP_EQUAL, 0, 1, 0),
        step(_RETURN, _ERRNO | _EPERM),
        step(_RETURN, _ALLOW),
    ]
    while numbers:
        low = high = numbers.pop(0)
        while numbers and numbers[0] == high + 1:
            high = numbers.pop(0)
        steps += [step(_JUMP_AT_LEAST, low, 0, 2), step(_JUMP_AT_LEAST, high + 1, 1, 0), step(_RETURN, _ALLOW)]
    steps.append(step(_RETURN, _ERRNO | _ENOSYS))
    return b"".join(steps)


def docker_profile() -> dict[str, object]:
    """The filter for a container as a whole, in the engine's form: what programs may do, and what the agent must."""
    names = [entry.split(":")[0] for entry in _ALLOWED.split()]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _ENOSYS,
        "syscalls": [{"names": names + _AGENTS.split(), "action": "SCMP_ACT_ALLOW"}],
    }


class _SockFprog(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Confinement:
    """Prepared once, applied in each forked child: no capabilities, no new ones, and the filter."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        code = program()
        self._buffer = ctypes.create_string_buffer(code, len(code))
        self._filter = _SockFprog(len(code) // 8, ctypes.addressof(self._buffer))
        # _LINUX_CAPABILITY_VERSION_3, pid 0; then two empty sets.
        self._capability_header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0), 8)
        self._capabilities = ctypes.create_string_buffer(24)

    def prctl(self, option: int, value: int) -> None:
        """prctl(2) with one argument.

        Raises:
            OSError: the kernel refused.
        """
        if self._libc.prctl(option, value, 0, 0, 0) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"prctl({option}): {os.strerror(error)}")

    def apply(self) -> None:
        """Confines the calling process for good.

        Raises:
            OSError: the kernel refused, so the program must not be run.
        """
        libc = self._libc
        pr_set_no_new_privs, pr_set_seccomp, seccomp_mode_filter = 38, 22, 2
        if libc.capset(self._capability_header, self._capabilities) != 0:
            raise OSError(ctypes.get_errno(), "capset " + os.strerror(ctypes.get_errno()))
        self.prctl(pr_set_no_new_privs, 1)
        if libc.prctl(pr_set_seccomp, seccomp_mode_filter, ctypes.byref(self._filter), 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "seccomp " + os.strerror(ctypes.get_errno()))
