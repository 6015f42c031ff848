//! The system calls a container may use under the `RuntimeDefault` profile.
//!
//! The same policy as containerd's default (`contrib/seccomp/seccomp_default.go`), kept as our own data: a list of
//! harmless calls, calls that come with a capability, and a few whose arguments matter.

use serde_json::{Value, json};

use super::capabilities::Set;

/// Allowed to every container.
const ALLOWED: &str = "
accept accept4 access adjtimex alarm arch_prctl arm_fadvise64_64 arm_sync_file_range bind breakpoint brk cachestat
cacheflush capget capset chdir chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64
clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat
dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark
fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork
fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue
futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents
getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid
getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid
getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr inotify_add_watch inotify_init inotify_init1
inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl
ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32
lgetxattr link linkat listen listxattr llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise
map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap
mmap2 modify_ldt mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2
pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease
process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readlink
readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr rename renameat renameat2
restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop
semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area
set_tid_address set_tls setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid
setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid
setsockopt setuid setuid32 setxattr shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask
sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range
sync_file_range2 syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime
timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat utime utimensat
utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev";

/// Allowed together with a capability.
const WITH_CAPABILITY: [(&str, &str); 13] = [
    ("CAP_BPF", "bpf"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_PERFMON", "perf_event_open"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount \
         open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
];

/// `personality` values that are harmless: the Linux ones and the query.
const PERSONALITIES: [u32; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Flags of `clone` that make namespaces (NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWCGROUP).
const NAMESPACE_FLAGS: u32 = 0x7e02_0000;
const AF_VSOCK: u32 = 40;
const ENOSYS: u32 = 38;
const EPERM: u32 = 1;

/// The profile for a container with these capabilities, as the `linux.seccomp` section of an OCI specification.
pub(super) fn default_profile(capabilities: &Set) -> Value {
    let mut rules = vec![allow(ALLOWED)];
    rules.extend(
        PERSONALITIES.map(|value| allow_if("personality", json!({ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }))),
    );
    rules.push(allow_if("socket", json!({ "index": 0, "value": AF_VSOCK, "op": "SCMP_CMP_NE" })));
    let held = WITH_CAPABILITY.iter().filter(|(capability, _)| capabilities.contains(capability));
    rules.extend(held.map(|(_, calls)| allow(calls)));
    if capabilities.contains("CAP_SYSLOG") && !capabilities.contains("CAP_SYS_ADMIN") {
        rules.push(allow("syslog"));
    }
    if !capabilities.contains("CAP_SYS_ADMIN") {
        let no_namespaces = json!({ "index": 0, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" });
        rules.push(allow_if("clone", no_namespaces));
        // Its flags are behind a pointer; without the call, C libraries fall back to clone.
        rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS }));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": architectures(),
        "syscalls": rules,
    })
}

fn architectures() -> &'static [&'static str] {
    if cfg!(target_arch = "x86_64") {
        &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    } else if cfg!(target_arch = "aarch64") {
        &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    } else {
        &[]
    }
}

fn allow(calls: &str) -> Value {
    json!({ "names": calls.split_whitespace().collect::<Vec<_>>(), "action": "SCMP_ACT_ALLOW" })
}

fn allow_if(call: &str, condition: Value) -> Value {
    json!({ "names": [call], "action": "SCMP_ACT_ALLOW", "args": [condition] })
}

#[cfg(test)]
mod tests {
    use libcontainer::oci_spec::runtime::LinuxSeccomp;

    use super::*;

    fn allows(profile: &LinuxSeccomp, call: &str) -> bool {
        let rules = profile.syscalls().iter().flatten();
        rules.into_iter().any(|r| r.names().iter().any(|n| n == call) && format!("{:?}", r.action()).contains("Allow"))
    }

    #[test]
    fn calls_follow_capabilities() {
        let parse = |set: &[&'static str]| -> LinuxSeccomp {
            serde_json::from_value(default_profile(&set.iter().copied().collect())).expect("a valid profile")
        };
        let plain = parse(&["CAP_SYS_CHROOT"]);
        assert!(allows(&plain, "read") && allows(&plain, "chroot") && allows(&plain, "clone"));
        assert!(!allows(&plain, "mount") && !allows(&plain, "unshare") && !allows(&plain, "clone3"));
        assert!(!allows(&plain, "keyctl") && !allows(&plain, "io_uring_setup") && !allows(&plain, "kexec_load"));
        let admin = parse(&["CAP_SYS_ADMIN"]);
        assert!(allows(&admin, "mount") && allows(&admin, "clone3") && !allows(&admin, "chroot"));
    }

    #[test]
    fn no_call_is_listed_twice() {
        let mut names: Vec<_> = ALLOWED.split_whitespace().collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
