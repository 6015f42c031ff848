//! Says to callgrind when to count. Does nothing where it does not run.

/// `VALGRIND_DO_CLIENT_REQUEST` of `valgrind.h`: instructions that do nothing, which valgrind knows.
#[cfg(target_arch = "x86_64")]
fn request(code: u64) {
    let arguments = [code, 0, 0, 0, 0, 0];
    // SAFETY: the rotations add up to none, the exchange is one of a register with itself, and valgrind reads the
    // arguments only. The result, in rdx, is not used.
    #[allow(unsafe_code)]
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") 0_u64 => _,
            options(nostack),
        );
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn request(_code: u64) {}

/// The requests of callgrind begin with its letters.
const CALLGRIND: u64 = (b'C' as u64) << 24 | (b'T' as u64) << 16;

/// Counts from here on.
pub(crate) fn start() {
    request(CALLGRIND + 4);
}

/// Counts no more.
pub(crate) fn stop() {
    request(CALLGRIND + 5);
}
