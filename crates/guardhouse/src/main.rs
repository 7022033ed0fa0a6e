//! The guard's program; a keeper starts it. Descriptor 3 is its socket to the keeper.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Overwrites memory as it is freed, so that nothing of a session outlives its use here.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    match sessile_guardhouse::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sessile-guard: {error}");
            ExitCode::FAILURE
        }
    }
}
