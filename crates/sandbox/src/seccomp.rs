//! The system calls an app may make.
//!
//! An allowlist: what is not named here fails with `ENOSYS`, as on a kernel that lacks it, so that
//! programs fall back. What is named as refused fails with `EPERM`. Arguments are looked at where
//! a call is harmless in one form only.
//!
//! - `ptrace`, `process_vm_readv` and `pidfd_getfd` are allowed: they reach no further than the
//!   app's own processes, and debuggers need them. Init makes itself undumpable before.
//! - `clone3`, `openat2`, `fchmodat2` and `io_uring` hide their arguments from any filter, so they
//!   do not exist; every program that uses them falls back.
//! - Modes with setuid or setgid bits are refused: no file in a writable project can carry the
//!   project owner's rights to someone else.
//! - `PR_SET_DUMPABLE` 0 and changes of the core dump limit succeed without effect: memory must
//!   stay within reach of the wipe, and out of core dumps.
//!
//! Assembled by hand: the filter needs several errors as answers and a search that does not grow
//! with the list, neither of which a generated chain of rules has.

use libc::sock_filter;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    /// Fails with an error; 0 is success without effect.
    Fail(i32),
    Clone,
    Unshare,
    Socket,
    SocketPair,
    Ioctl,
    Prctl,
    Personality,
    /// The argument of this number is a mode.
    Mode(u32),
    /// The arguments of these numbers are open flags and a mode.
    OpenMode(u32, u32),
    /// The argument of this number is a resource that is being set.
    Limit(u32),
    /// Like [`Self::Limit`], only when the next argument is not null.
    LimitIfGiven(u32),
}

macro_rules! numbers {
    ($($name:ident)*) => { &[$(libc::$name as u32),*] };
}

/// Allowed whatever their arguments.
const ALLOWED: &[u32] = numbers! {
    SYS_read SYS_write SYS_close SYS_fstat SYS_lseek SYS_mmap SYS_mprotect SYS_munmap SYS_brk
    SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_pread64 SYS_pwrite64 SYS_readv
    SYS_writev SYS_sched_yield SYS_mremap SYS_msync SYS_mincore SYS_madvise SYS_shmget SYS_shmat
    SYS_shmctl SYS_shmdt SYS_dup SYS_dup3 SYS_nanosleep SYS_getitimer SYS_setitimer SYS_getpid
    SYS_sendfile SYS_connect SYS_accept SYS_accept4 SYS_sendto SYS_recvfrom SYS_sendmsg SYS_recvmsg
    SYS_sendmmsg SYS_recvmmsg SYS_shutdown SYS_bind SYS_listen SYS_getsockname SYS_getpeername
    SYS_setsockopt SYS_getsockopt SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_wait4
    SYS_waitid SYS_kill SYS_tkill SYS_tgkill SYS_uname SYS_semget SYS_semop SYS_semctl
    SYS_semtimedop SYS_msgget SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_fcntl SYS_flock SYS_fsync
    SYS_fdatasync SYS_sync SYS_syncfs SYS_sync_file_range SYS_truncate SYS_ftruncate SYS_fallocate
    SYS_getcwd SYS_chdir SYS_fchdir SYS_fchown SYS_fchownat SYS_umask SYS_gettimeofday
    SYS_getrlimit SYS_getrusage SYS_sysinfo SYS_times SYS_ptrace SYS_getuid SYS_getgid SYS_geteuid
    SYS_getegid SYS_setuid SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid SYS_getresuid
    SYS_setresgid SYS_getresgid SYS_setfsuid SYS_setfsgid SYS_getgroups SYS_setgroups SYS_setpgid
    SYS_getpgid SYS_getppid SYS_getsid SYS_setsid SYS_gettid SYS_capget SYS_capset
    SYS_rt_sigpending SYS_rt_sigtimedwait SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo
    SYS_rt_sigsuspend SYS_sigaltstack SYS_statfs SYS_fstatfs SYS_statx SYS_newfstatat
    SYS_getpriority SYS_setpriority SYS_sched_setparam SYS_sched_getparam SYS_sched_setscheduler
    SYS_sched_getscheduler SYS_sched_get_priority_max SYS_sched_get_priority_min
    SYS_sched_rr_get_interval SYS_sched_setaffinity SYS_sched_getaffinity SYS_sched_setattr
    SYS_sched_getattr SYS_mlock SYS_mlock2 SYS_munlock SYS_mlockall SYS_munlockall SYS_readahead
    SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_getxattr SYS_lgetxattr SYS_fgetxattr
    SYS_listxattr SYS_llistxattr SYS_flistxattr SYS_removexattr SYS_lremovexattr SYS_fremovexattr
    SYS_futex SYS_futex_waitv SYS_get_robust_list SYS_set_robust_list SYS_set_tid_address
    SYS_restart_syscall SYS_io_setup SYS_io_destroy SYS_io_getevents SYS_io_submit SYS_io_cancel
    SYS_fadvise64 SYS_remap_file_pages SYS_timer_create SYS_timer_settime SYS_timer_gettime
    SYS_timer_getoverrun SYS_timer_delete SYS_clock_gettime SYS_clock_getres SYS_clock_nanosleep
    SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime SYS_epoll_create1 SYS_epoll_ctl
    SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_signalfd4 SYS_inotify_init1
    SYS_inotify_add_watch SYS_inotify_rm_watch SYS_mbind SYS_set_mempolicy SYS_get_mempolicy
    SYS_mq_open SYS_mq_unlink SYS_mq_timedsend SYS_mq_timedreceive SYS_mq_notify SYS_mq_getsetattr
    SYS_ioprio_set SYS_ioprio_get SYS_mkdirat SYS_unlinkat SYS_renameat SYS_renameat2 SYS_linkat
    SYS_symlinkat SYS_readlinkat SYS_faccessat SYS_faccessat2 SYS_utimensat SYS_getdents64
    SYS_pselect6 SYS_ppoll SYS_pipe2 SYS_splice SYS_tee SYS_vmsplice SYS_preadv SYS_pwritev
    SYS_preadv2 SYS_pwritev2 SYS_copy_file_range SYS_name_to_handle_at SYS_getcpu
    SYS_process_vm_readv SYS_process_vm_writev SYS_process_madvise SYS_process_mrelease SYS_kcmp
    SYS_seccomp SYS_getrandom SYS_memfd_create SYS_membarrier SYS_pkey_mprotect SYS_pkey_alloc
    SYS_pkey_free SYS_rseq SYS_pidfd_send_signal SYS_pidfd_open SYS_pidfd_getfd SYS_close_range
    SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self
};

/// Allowed calls that newer architectures never had.
#[cfg(target_arch = "x86_64")]
const ALLOWED_OLD: &[u32] = numbers! {
    SYS_stat SYS_lstat SYS_poll SYS_access SYS_pipe SYS_select SYS_dup2 SYS_pause SYS_alarm
    SYS_fork SYS_vfork SYS_rename SYS_mkdir SYS_rmdir SYS_link SYS_unlink SYS_symlink SYS_readlink
    SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat SYS_getpgrp SYS_time SYS_getdents
    SYS_epoll_create SYS_epoll_wait SYS_inotify_init SYS_signalfd SYS_eventfd SYS_arch_prctl
    SYS_ustat
};
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_OLD: &[u32] = &[];

/// Refused: they administer the host, or reach past the sandbox.
const REFUSED: &[u32] = numbers! {
    SYS_acct SYS_swapon SYS_swapoff SYS_reboot SYS_sethostname SYS_setdomainname SYS_init_module
    SYS_finit_module SYS_delete_module SYS_kexec_load SYS_quotactl SYS_quotactl_fd SYS_mount
    SYS_umount2 SYS_pivot_root SYS_chroot SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig
    SYS_fsmount SYS_fspick SYS_mount_setattr SYS_setns SYS_settimeofday SYS_clock_settime
    SYS_adjtimex SYS_clock_adjtime SYS_vhangup SYS_syslog SYS_bpf SYS_perf_event_open
    SYS_userfaultfd SYS_open_by_handle_at SYS_add_key SYS_request_key SYS_keyctl
    SYS_fanotify_init SYS_fanotify_mark SYS_migrate_pages SYS_move_pages
};

#[cfg(target_arch = "x86_64")]
const REFUSED_OLD: &[u32] =
    numbers! { SYS_iopl SYS_ioperm SYS_modify_ldt SYS_uselib SYS_kexec_file_load SYS_sysfs };
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_OLD: &[u32] = &[];

/// Calls whose arguments decide.
const CHECKED: &[(i64, Verdict)] = &[
    (libc::SYS_clone, Verdict::Clone),
    (libc::SYS_clone3, Verdict::Fail(libc::ENOSYS)),
    (libc::SYS_unshare, Verdict::Unshare),
    (libc::SYS_socket, Verdict::Socket),
    (libc::SYS_socketpair, Verdict::SocketPair),
    (libc::SYS_ioctl, Verdict::Ioctl),
    (libc::SYS_prctl, Verdict::Prctl),
    (libc::SYS_personality, Verdict::Personality),
    (libc::SYS_fchmod, Verdict::Mode(1)),
    (libc::SYS_fchmodat, Verdict::Mode(2)),
    (libc::SYS_mknodat, Verdict::Mode(2)),
    (libc::SYS_openat, Verdict::OpenMode(2, 3)),
    (libc::SYS_setrlimit, Verdict::Limit(0)),
    (libc::SYS_prlimit64, Verdict::LimitIfGiven(1)),
];

#[cfg(target_arch = "x86_64")]
const CHECKED_OLD: &[(i64, Verdict)] = &[
    (libc::SYS_chmod, Verdict::Mode(1)),
    (libc::SYS_creat, Verdict::Mode(1)),
    (libc::SYS_mknod, Verdict::Mode(1)),
    (libc::SYS_open, Verdict::OpenMode(1, 2)),
];
#[cfg(not(target_arch = "x86_64"))]
const CHECKED_OLD: &[(i64, Verdict)] = &[];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Numbers from here on are calls of the x32 convention.
const X32_BIT: u32 = 0x4000_0000;
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;
/// Of `unshare` only: for `clone` this bit is part of a signal's number.
const NEW_TIME: u32 = 0x80;
const SET_ID_BITS: u32 = 0o6000;
/// `O_CREAT` and the bit of `O_TMPFILE` that is its own: without them the mode is not read.
const MODE_IS_READ: u32 = (libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u32;
/// Linux, 32 bit Linux, old version numbers, both, no address randomisation, and "just ask".
const PERSONALITIES: &[u32] = &[0, 0x8, 0x2_0000, 0x2_0008, 0x4_0000, 0xffff_ffff];

/// The filter as bytes of `struct sock_filter`, ready for `seccomp(2)`.
pub fn program() -> Vec<u8> {
    let mut bytes = Vec::new();
    for instruction in assemble() {
        bytes.extend(instruction.code.to_ne_bytes());
        bytes.extend([instruction.jt, instruction.jf]);
        bytes.extend(instruction.k.to_ne_bytes());
    }
    bytes
}

/// The calls as ranges of numbers, each from its first number up to the next range's.
fn ranges() -> Vec<(u32, Verdict)> {
    let same = |numbers: &'static [u32], verdict| numbers.iter().map(move |&n| (n, verdict));
    let mut calls: Vec<(u32, Verdict)> = same(ALLOWED, Verdict::Allow)
        .chain(same(ALLOWED_OLD, Verdict::Allow))
        .chain(same(REFUSED, Verdict::Fail(libc::EPERM)))
        .chain(same(REFUSED_OLD, Verdict::Fail(libc::EPERM)))
        .chain(CHECKED.iter().chain(CHECKED_OLD).map(|&(n, v)| (n as u32, v)))
        .collect();
    calls.sort_by_key(|c| c.0);
    assert!(calls.windows(2).all(|w| w[0].0 < w[1].0), "a call is named twice");
    let unknown = Verdict::Fail(libc::ENOSYS);
    let mut ranges: Vec<(u32, Verdict)> = vec![(0, unknown)];
    let mut next = 0;
    let mut put = |start: u32, verdict: Verdict| match ranges.last_mut() {
        Some(last) if last.1 == verdict => {}
        Some(last) if last.0 == start => last.1 = verdict,
        _ => ranges.push((start, verdict)),
    };
    for (number, verdict) in calls {
        if number > next {
            put(next, unknown);
        }
        put(number, verdict);
        next = number + 1;
    }
    put(next, unknown);
    ranges
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const IF_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const OFFSET_OF_NUMBER: u32 = 0;
const OFFSET_OF_ARCHITECTURE: u32 = 4;

const fn op(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Loads the low half of an argument: what the kernel reads of every argument checked here.
const fn load(argument: u32) -> sock_filter {
    op(LOAD, 16 + argument * 8, 0, 0)
}

const fn load_high(argument: u32) -> sock_filter {
    op(LOAD, 20 + argument * 8, 0, 0)
}

const fn allow() -> sock_filter {
    op(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0)
}

const fn fail(errno: i32) -> sock_filter {
    op(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0)
}

fn assemble() -> Vec<sock_filter> {
    let mut program = vec![
        op(LOAD, OFFSET_OF_ARCHITECTURE, 0, 0),
        op(IF_EQUAL, ARCHITECTURE, 1, 0),
        fail(libc::EPERM),
        op(LOAD, OFFSET_OF_NUMBER, 0, 0),
        op(IF_AT_LEAST, X32_BIT, 0, 1),
        fail(libc::EPERM),
    ];
    search(&ranges(), &mut program);
    program
}

/// Appends a binary search over ranges; the number is loaded.
fn search(ranges: &[(u32, Verdict)], program: &mut Vec<sock_filter>) {
    if let [(_, verdict)] = ranges {
        return decide(*verdict, program);
    }
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let Some(&(start, _)) = upper.first() else { return };
    program.push(op(IF_AT_LEAST, start, 0, 1));
    let jump = program.len();
    program.push(op(JUMP, 0, 0, 0));
    search(lower, program);
    program[jump].k = (program.len() - jump - 1) as u32;
    search(upper, program);
}

fn decide(verdict: Verdict, program: &mut Vec<sock_filter>) {
    let refuse = fail(libc::EPERM);
    let refuse_bits = |argument, bits| [load(argument), op(IF_ANY_BIT, bits, 0, 1), refuse, allow()];
    let no_family = fail(libc::EAFNOSUPPORT);
    match verdict {
        Verdict::Allow => program.push(allow()),
        Verdict::Fail(errno) => program.push(fail(errno)),
        Verdict::Clone => program.extend(refuse_bits(0, NEW_NAMESPACES)),
        Verdict::Unshare => program.extend(refuse_bits(0, NEW_NAMESPACES | NEW_TIME)),
        Verdict::Socket => program.extend([
            load(0),
            op(IF_EQUAL, libc::AF_UNIX as u32, 6, 0),
            op(IF_EQUAL, libc::AF_INET as u32, 5, 0),
            op(IF_EQUAL, libc::AF_INET6 as u32, 4, 0),
            op(IF_EQUAL, libc::AF_NETLINK as u32, 0, 2),
            load(2),
            op(IF_EQUAL, libc::NETLINK_ROUTE as u32, 1, 0),
            no_family,
            allow(),
        ]),
        Verdict::SocketPair => {
            program.extend([load(0), op(IF_EQUAL, libc::AF_UNIX as u32, 1, 0), no_family, allow()]);
        }
        Verdict::Ioctl => program.extend([
            load(1),
            op(IF_EQUAL, libc::TIOCSTI as u32, 2, 0),
            op(IF_EQUAL, libc::TIOCLINUX as u32, 1, 0),
            op(IF_EQUAL, libc::TIOCSETD as u32, 0, 1),
            refuse,
            allow(),
        ]),
        Verdict::Prctl => program.extend([
            load(0),
            op(IF_EQUAL, libc::PR_SET_DUMPABLE as u32, 0, 3),
            load(1),
            op(IF_EQUAL, 0, 0, 1),
            fail(0),
            allow(),
        ]),
        Verdict::Personality => {
            program.push(load(0));
            for (place, &personality) in PERSONALITIES.iter().enumerate() {
                // Over the remaining comparisons and the refusal.
                let distance = (PERSONALITIES.len() - place) as u8;
                program.push(op(IF_EQUAL, personality, distance, 0));
            }
            program.extend([refuse, allow()]);
        }
        Verdict::Mode(argument) => program.extend(refuse_bits(argument, SET_ID_BITS)),
        Verdict::OpenMode(flags, mode) => program.extend([
            load(flags),
            op(IF_ANY_BIT, MODE_IS_READ, 0, 3),
            load(mode),
            op(IF_ANY_BIT, SET_ID_BITS, 0, 1),
            refuse,
            allow(),
        ]),
        Verdict::Limit(resource) => {
            program.extend([load(resource), op(IF_EQUAL, libc::RLIMIT_CORE, 0, 1), fail(0), allow()])
        }
        Verdict::LimitIfGiven(resource) => program.extend([
            load(resource),
            op(IF_EQUAL, libc::RLIMIT_CORE, 0, 5),
            load(resource + 1),
            op(IF_EQUAL, 0, 0, 2),
            load_high(resource + 1),
            op(IF_EQUAL, 0, 1, 0),
            fail(0),
            allow(),
        ]),
    }
}

#[cfg(test)]
mod tests;
