//! `sessile-anchor`: a session's anchor, or the first process of a sandbox, by its first argument.
//!
//! The C runtime calls `main` directly: Rust's own start-up, which allocates, is left out.

#![no_main]

use std::ffi::{CStr, c_char, c_int};

use sessile_anchor::{init, program};

/// Exit code for wrong arguments, as in sysexits.h.
const USAGE: c_int = 64;

/// Entry point. The word `anchor` or `init` is argument 0 or, behind a program's name, argument 1.
///
/// # Safety
/// Called by the C runtime alone, with the arguments and environment that the kernel made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(
    argc: c_int,
    argv: *const *const c_char,
    environment: *const *const c_char,
) -> c_int {
    let count = usize::try_from(argc).unwrap_or(0);
    // SAFETY: the kernel passes `argc` C strings, which live as long as the process.
    let mut arguments = unsafe { std::slice::from_raw_parts(argv, count) };
    for _ in 0..2 {
        let Some((word, rest)) = arguments.split_first() else { break };
        // SAFETY: as above.
        match unsafe { CStr::from_ptr(*word) }.to_bytes() {
            b"init" => init::run(),
            b"anchor" => {
                let [id, runtime, state] = *rest else { break };
                // SAFETY: these are C strings of the kernel's, and so are those of the
                // environment, a list with NULL at its end.
                unsafe { program::run([id, runtime, state], environment) }
            }
            _ => arguments = rest,
        }
    }
    let words = b"sessile-anchor is started by sessile: anchor SESSION_ID RUNTIME_DIR STATE_DIR\n";
    // SAFETY: writes from a static of that length.
    unsafe { libc::write(2, words.as_ptr().cast(), words.len()) };
    USAGE
}
